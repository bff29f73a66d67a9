{{/* The configuration that the sidecar gets, of a scope: what the values say, and what the chart knows. */}}
{{- define "sidespan-sidecar.config" -}}
{{- $own := dict
  "version" 1
  "service" .release
  "listen" "127.0.0.1:7400"
  "admin" "127.0.0.1:7401"
  "health" (eq .values.ipFamily "IPv6" | ternary "[::]:7402" "0.0.0.0:7402")
-}}
{{ mustMergeOverwrite $own .values.config.file | toYaml }}
{{- end -}}

{{- define "sidespan-sidecar.configMap" -}}
{{- .values.config.existingConfigMap | default .name -}}
{{- end -}}
