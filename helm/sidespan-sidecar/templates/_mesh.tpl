{{/* What a mesh has to know of the pod, of a scope. Cilium has no proxy in it. */}}
{{- define "sidespan-sidecar.mesh" -}}
{{- $brokers := join "," .values.mesh.brokerPorts -}}
{{- $outside := eq .values.mesh.brokers "outside" -}}
{{- if eq .values.mesh.kind "linkerd" -}}
# A proxy that waits for the client's first bytes holds up NATS, whose server speaks first, for ten seconds.
config.linkerd.io/{{ $outside | ternary "skip-outbound-ports" "opaque-ports" }}: {{ $brokers | quote }}
# The kubelet and Prometheus ask for health, and need not be in the mesh.
config.linkerd.io/skip-inbound-ports: "7402"
# The proxy is the first of the native sidecars: it starts before Sidespan and ends after it.
config.beta.linkerd.io/proxy-enable-native-sidecar: {{ .values.native | quote }}
{{- else if eq .values.mesh.kind "istio" -}}
{{- if $outside }}
# Not through Envoy: it would wait for what NATS's server says first, and end connections of an hour's idleness.
traffic.sidecar.istio.io/excludeOutboundPorts: {{ $brokers | quote }}
{{- end }}
# Scrapes come from outside of the mesh, also where it wants mutual TLS.
traffic.sidecar.istio.io/excludeInboundPorts: "7402"
# An ordinary proxy starts after all init containers, so that a native Sidespan would have no network until then.
sidecar.istio.io/nativeSidecar: {{ .values.native | quote }}
proxy.istio.io/config: '{"holdApplicationUntilProxyStarts":true}'
{{- else if eq .values.mesh.kind "consul" -}}
{{- if $outside }}
# Intentions name services of the mesh, which brokers outside of it are not. Consul's proxy is an ordinary container, which
# starts after a native Sidespan: its brokers must not go by the proxy.
consul.hashicorp.com/transparent-proxy-exclude-outbound-ports: {{ $brokers | quote }}
{{- end }}
consul.hashicorp.com/transparent-proxy-exclude-inbound-ports: "7402"
# The proxy outlives Sidespan: it ends when the pod's grace does, and takes no new connections meanwhile.
consul.hashicorp.com/enable-sidecar-proxy-lifecycle: "true"
consul.hashicorp.com/enable-sidecar-proxy-lifecycle-shutdown-drain-listeners: "true"
consul.hashicorp.com/sidecar-proxy-lifecycle-shutdown-grace-period-seconds: {{ include "sidespan-sidecar.grace" . | quote }}
{{- end -}}
{{- end -}}
