{{/* What values must agree on, and no schema can say in a sentence. Each rule ends the rendering with what to set. */}}

{{- define "sidespan.rules" -}}
{{- $file := .Values.config.file -}}
{{- if .Values.config.existingConfigMap -}}
{{- if $file -}}
{{- fail "\nconfig.file and config.existingConfigMap are both set: leave one of them out" -}}
{{- end -}}
{{- if eq .Values.config.rollout "restart" -}}
{{- fail "\nconfig.rollout is restart, and the chart cannot see what is in config.existingConfigMap: leave it at reload, or have pods replaced by whoever changes that ConfigMap" -}}
{{- end -}}
{{- else -}}
{{- include "sidespan.rules.file" . -}}
{{- end -}}
{{- if lt (include "sidespan.grace" . | int) (include "sidespan.stopping" . | int) -}}
{{- fail (printf "\nterminationGracePeriodSeconds is %v, and stopping may take %v: drain.atLeast or config.file.drain.deliveries, config.file.drain.shutdown, and 2 seconds. Set it to %v, leave it out, or shorten those" .Values.terminationGracePeriodSeconds (include "sidespan.stopping" .) (include "sidespan.stopping" .)) -}}
{{- end -}}
{{- if and .Values.hpa.enabled .Values.keda.enabled -}}
{{- fail "\nhpa.enabled and keda.enabled are both set, and would set the number of pods against each other: leave one of them out" -}}
{{- end -}}
{{- range $scaler := list "hpa" "keda" -}}
{{- if (get $.Values $scaler).enabled -}}
{{- range (get $.Values $scaler).lag -}}
{{- include "sidespan.rules.lag" (list $ $scaler .subscription) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.keda.enabled (not .Values.keda.lag) -}}
{{- fail "\nkeda.enabled is set, and keda.lag names no subscription to scale by: add one, as [{subscription: billing, messages: 1000}], or use hpa" -}}
{{- end -}}
{{- if and .Values.hpa.enabled (not .Values.hpa.cpu) (not .Values.hpa.lag) -}}
{{- fail "\nhpa.enabled is set, and there is nothing to scale by: set hpa.cpu or hpa.lag" -}}
{{- end -}}
{{- end -}}

{{- define "sidespan.rules.file" -}}
{{- $file := .Values.config.file -}}
{{- if not $file.bridges -}}
{{- fail "\nconfig.file.bridges names no broker. For Kafka, say:\n\n  config:\n    file:\n      bridges:\n        main: { kind: kafka, brokers: [\"kafka:9092\"] }\n\nor name a ConfigMap in config.existingConfigMap" -}}
{{- end -}}
{{- if not (or $file.auth $file.insecure) -}}
{{- fail "\nthe gateway is reachable from other pods, and nobody is asked who they are. List the callers under config.file.auth.tokens, or set config.file.insecure: true where the network is guarded otherwise: by networkPolicy, or by a mesh" -}}
{{- end -}}
{{- $tokens := ($file.auth | default dict).tokens | toJson -}}
{{- if and $file.auth (not (contains "\"manage\":true" $tokens)) (not .Values.drain.tokenFile) -}}
{{- fail "\nconfig.file.auth is set, so `sidespan drain` needs a token when a pod ends. Give one of the tokens `manage: true`, or name the file of such a token in drain.tokenFile, such as /run/secrets/sidespan-operator/token" -}}
{{- end -}}
{{- if regexMatch "://[^/@\" ]*:[^/@\" ]*@" (toJson $file) -}}
{{- fail "\na URL in config.file holds a password, which a ConfigMap is no place for: use the keys for it, such as password: { env: NAME }, with secrets.env" -}}
{{- end -}}
{{- range $name, $bridge := $file.bridges -}}
{{- if and (eq $bridge.kind "embedded") (not (hasPrefix "/var/lib/sidespan" (clean $bridge.dir))) -}}
{{- fail (printf "\nconfig.file.bridges.%s.dir is %s, and the volume is at /var/lib/sidespan: name that, or a directory in it" $name $bridge.dir) -}}
{{- end -}}
{{- end -}}
{{- include "sidespan.rules.pull" . -}}
{{- end -}}

{{/* A consumer that fetches may reach a pod that does not have its messages. */}}
{{- define "sidespan.rules.pull" -}}
{{- $several := or (gt (int .Values.replicaCount) 1) .Values.hpa.enabled .Values.keda.enabled -}}
{{- $create := "Name a Secret in replicas.secret (`kubectl create secret generic sidespan-replicas --from-literal=secret=$(openssl rand -base64 32)`), or set replicaCount: 1" -}}
{{- if and $several (not .Values.replicas.secret) -}}
{{- if .Values.config.file.registry -}}
{{- fail (printf "\nconfig.file.registry lets callers make subscriptions, and there are several pods, which must find each other for those that are fetched. %s" $create) -}}
{{- end -}}
{{- range $name, $subscription := .Values.config.file.subscriptions -}}
{{- if hasKey $subscription "pull" -}}
{{- fail (printf "\nconfig.file.subscriptions.%s is fetched (pull), and there are several pods, which must find each other. %s" $name $create) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* More pods take nothing off a subscription that one of them has alone: NATS and RabbitMQ keep order so. */}}
{{- define "sidespan.rules.lag" -}}
{{- $root := index . 0 -}}
{{- $scaler := index . 1 -}}
{{- $name := index . 2 -}}
{{- $file := $root.Values.config.file -}}
{{- $subscription := get ($file.subscriptions | default dict) $name -}}
{{- if and (not $subscription) $file.bridges (not $file.registry) -}}
{{- fail (printf "\n%s.lag names %s, and config.file.subscriptions does not" $scaler $name) -}}
{{- end -}}
{{- if $subscription -}}
{{- if ne ($subscription.order | default "none") "none" -}}
{{- $topic := get ($file.topics | default dict) $subscription.topic | default dict -}}
{{- $bridge := coalesce $topic.bridge $subscription.bridge $file.default_bridge (keys $file.bridges | sortAlpha | first) -}}
{{- $kind := (get $file.bridges $bridge | default dict).kind -}}
{{- if has $kind (list "nats" "amqp" "embedded") -}}
{{- fail (printf "\n%s.lag names %s, which is ordered (order: %s) on %s: one pod is active there and the others stand by, so that more pods do not shorten it. Leave it out, set order: none, or use Kafka, where each partition has a pod" $scaler $name $subscription.order $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
