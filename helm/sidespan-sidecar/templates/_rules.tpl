{{/* What values must agree on, and no schema can say in a sentence. Each rule ends the rendering with what to set. */}}
{{- define "sidespan-sidecar.rules" -}}
{{- $file := .values.config.file -}}
{{- if .values.config.existingConfigMap -}}
{{- if $file -}}
{{- fail "\nconfig.file and config.existingConfigMap of the sidecar are both set: leave one of them out" -}}
{{- end -}}
{{- if eq .values.config.rollout "restart" -}}
{{- fail "\nconfig.rollout of the sidecar is restart, and the chart cannot see what is in config.existingConfigMap: leave it at reload, or have pods replaced by whoever changes that ConfigMap" -}}
{{- end -}}
{{- else -}}
{{- if not $file.bridges -}}
{{- fail "\nconfig.file.bridges of the sidecar names no broker. For Kafka, say bridges: {main: {kind: kafka, brokers: [\"kafka:9092\"]}}, or name a ConfigMap in config.existingConfigMap" -}}
{{- end -}}
{{- $tokens := ($file.auth | default dict).tokens | toJson -}}
{{- if and $file.auth (not (contains "\"manage\":true" $tokens)) (not .values.drain.tokenFile) -}}
{{- fail "\nconfig.file.auth of the sidecar is set, so `sidespan drain` needs a token when the pod ends. Give one of the tokens `manage: true`, or name the file of such a token in drain.tokenFile" -}}
{{- end -}}
{{- if regexMatch "://[^/@\" ]*:[^/@\" ]*@" (toJson $file) -}}
{{- fail "\na URL in config.file of the sidecar holds a password, which a ConfigMap is no place for: use the keys for it, such as password: { env: NAME }, with secrets.env" -}}
{{- end -}}
{{- range $name, $bridge := $file.bridges -}}
{{- if and (eq $bridge.kind "embedded") (not (hasPrefix "/var/lib/sidespan" (clean $bridge.dir))) -}}
{{- fail (printf "\nconfig.file.bridges.%s.dir of the sidecar is %s, and the volume is at /var/lib/sidespan: name that, or a directory in it" $name $bridge.dir) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if lt (include "sidespan-sidecar.grace" . | int) (include "sidespan-sidecar.stopping" . | int) -}}
{{- fail (printf "\nterminationGracePeriodSeconds of the sidecar is %v, and stopping may take %v: service.stopping or config.file.drain.deliveries, config.file.drain.shutdown, and 2 seconds. Set it to %v, leave it out, or shorten those" .values.terminationGracePeriodSeconds (include "sidespan-sidecar.stopping" .) (include "sidespan-sidecar.stopping" .)) -}}
{{- end -}}
{{- end -}}
