{{/* How long it takes to end. */}}

{{/* Seconds of a duration as Sidespan reads it: `250ms`, `5s`, `1m 30s`; rounded up. */}}
{{- define "sidespan-sidecar.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9]+ *(ms|s|m|h|d)" . -1 -}}
{{- $unit := get $units (regexFind "[a-z]+" .) -}}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9]+" . | float64) $unit) -}}
{{- end -}}
{{- ceil $seconds | int -}}
{{- end -}}

{{/* What the deadlines add up to, of a scope: `preStop` drains deliveries while the service ends, the rest follows SIGTERM,
     and two seconds are for a bridge that closes late and for the kubelet. */}}
{{- define "sidespan-sidecar.stopping" -}}
{{- $drain := .values.config.file.drain | default dict -}}
{{- $deliveries := include "sidespan-sidecar.seconds" ($drain.deliveries | default "20s") | int -}}
{{- $shutdown := include "sidespan-sidecar.seconds" ($drain.shutdown | default "5s") | int -}}
{{- $service := include "sidespan-sidecar.seconds" .values.service.stopping | int -}}
{{- add (max $deliveries $service) $shutdown 2 -}}
{{- end -}}

{{- define "sidespan-sidecar.grace" -}}
{{- .values.terminationGracePeriodSeconds | default (max 30 (include "sidespan-sidecar.stopping" . | int)) -}}
{{- end -}}
