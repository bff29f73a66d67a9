{{/* What a mesh has to know of the pods. Cilium has no proxy in them: it reads the protocols of the Service's ports. */}}

{{- define "sidespan.mesh" -}}
{{- $brokers := join "," .Values.mesh.brokerPorts -}}
{{- $outside := eq .Values.mesh.brokers "outside" -}}
{{- if eq .Values.mesh.kind "linkerd" -}}
# A proxy that waits for the client's first bytes holds up NATS, whose server speaks first, for ten seconds.
config.linkerd.io/{{ $outside | ternary "skip-outbound-ports" "opaque-ports" }}: {{ $brokers | quote }}
# The kubelet and Prometheus ask for health, and need not be in the mesh.
config.linkerd.io/skip-inbound-ports: "7402"
# The proxy starts before Sidespan and ends after it: its last commits and acknowledgements go by it.
config.beta.linkerd.io/proxy-enable-native-sidecar: "true"
{{- else if eq .Values.mesh.kind "istio" -}}
{{- if $outside }}
# Not through Envoy: it would wait for what NATS's server says first, and end connections of an hour's idleness.
traffic.sidecar.istio.io/excludeOutboundPorts: {{ $brokers | quote }}
{{- end }}
# Scrapes come from outside of the mesh, also where it wants mutual TLS.
traffic.sidecar.istio.io/excludeInboundPorts: "7402"
# The proxy starts before Sidespan and ends after it, in both of the manners that Istio has.
sidecar.istio.io/nativeSidecar: "true"
proxy.istio.io/config: '{"holdApplicationUntilProxyStarts":true}'
{{- else if eq .Values.mesh.kind "consul" -}}
consul.hashicorp.com/connect-inject: "true"
# One of the Service's ports is the mesh's; the others are excluded.
consul.hashicorp.com/connect-service-port: http
{{- if $outside }}
# Intentions name services of the mesh, which brokers outside of it are not.
consul.hashicorp.com/transparent-proxy-exclude-outbound-ports: {{ $brokers | quote }}
{{- end }}
consul.hashicorp.com/transparent-proxy-exclude-inbound-ports: "7402"
# The proxy outlives Sidespan: it ends when the pod's grace does, and takes no new connections meanwhile.
consul.hashicorp.com/enable-sidecar-proxy-lifecycle: "true"
consul.hashicorp.com/enable-sidecar-proxy-lifecycle-shutdown-drain-listeners: "true"
consul.hashicorp.com/sidecar-proxy-lifecycle-shutdown-grace-period-seconds: {{ include "sidespan.grace" . | quote }}
{{- end -}}
{{- end -}}

{{/* Who reads a port's protocol: Istio and Consul by name or `appProtocol`, Cilium's and other gateways by `appProtocol`. */}}
{{- define "sidespan.ports" -}}
- name: http
  port: {{ .Values.service.port }}
  targetPort: http
  appProtocol: http
{{- if .Values.service.grpcPort }}
- name: grpc
  port: {{ .Values.service.grpcPort }}
  targetPort: http
  # HTTP/2 without TLS; Cilium's Envoy knows Kubernetes' own name for it, Istio and Consul theirs.
  appProtocol: {{ has .Values.mesh.kind (list "istio" "consul") | ternary "grpc" "kubernetes.io/h2c" }}
{{- end }}
{{- end -}}
