{{/* The configuration that Sidespan gets: what the values say, and what the chart knows. */}}

{{- define "sidespan.config" -}}
{{- $name := include "sidespan.fullname" . -}}
{{- $any := eq .Values.ipFamily "IPv6" | ternary "[::]" "0.0.0.0" -}}
{{- $own := dict
  "version" 1
  "service" $name
  "listen" (printf "%s:7400" $any)
  "admin" "127.0.0.1:7401"
  "health" (printf "%s:7402" $any)
-}}
{{- if .Values.replicas.secret -}}
{{- $secrets := list -}}
{{- range .Values.replicas.keys -}}
{{- $secrets = append $secrets (dict "file" (printf "/run/secrets/%s/%s" $.Values.replicas.secret .)) -}}
{{- end -}}
{{- $peers := list (printf "%s-replicas.%s.svc.%s:7400" $name .Release.Namespace .Values.clusterDomain) -}}
{{- $_ := set $own "replicas" (dict "peers" $peers "secrets" $secrets) -}}
{{- end -}}
{{- $config := mustMergeOverwrite $own (deepCopy .Values.config.file) -}}
{{- $_ := set $config "allowed_hosts" (concat (include "sidespan.hosts" . | fromYamlArray) (.Values.config.file.allowed_hosts | default list) | uniq) -}}
{{ toYaml $config }}
{{- end -}}

{{/* The names that callers in the cluster use: any other `Host` is refused. */}}
{{- define "sidespan.hosts" -}}
{{- $name := include "sidespan.fullname" . -}}
- {{ $name }}
- {{ $name }}.{{ .Release.Namespace }}
- {{ $name }}.{{ .Release.Namespace }}.svc
- {{ $name }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- define "sidespan.configMap" -}}
{{- .Values.config.existingConfigMap | default (include "sidespan.fullname" .) -}}
{{- end -}}
