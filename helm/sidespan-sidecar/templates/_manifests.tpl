{{/* The objects beside the pods: the configuration, and what Prometheus's operator scrapes. */}}
{{- define "sidespan-sidecar.manifests" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if $scope.enabled -}}
{{- if not $scope.values.config.existingConfigMap }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $scope.name }}
  namespace: {{ $scope.namespace }}
  labels:
    {{- include "sidespan-sidecar.objectLabels" $scope | nindent 4 }}
data:
  {{ $scope.values.config.key }}: |
    {{- include "sidespan-sidecar.config" $scope | nindent 4 }}
{{- end }}
{{- if $scope.values.podMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ $scope.name }}
  namespace: {{ $scope.namespace }}
  labels:
    {{- include "sidespan-sidecar.objectLabels" $scope | nindent 4 }}
    {{- with $scope.values.podMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  podMetricsEndpoints:
    - port: sidespan-health
      path: /metrics
      interval: {{ $scope.values.podMonitor.interval }}
      scrapeTimeout: {{ $scope.values.podMonitor.scrapeTimeout }}
  selector:
    matchLabels:
      sidespan/sidecar: {{ $scope.name }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "sidespan-sidecar.objectLabels" -}}
app.kubernetes.io/name: sidespan
app.kubernetes.io/instance: {{ .release }}
app.kubernetes.io/component: sidecar
app.kubernetes.io/version: {{ .version | quote }}
app.kubernetes.io/part-of: sidespan
app.kubernetes.io/managed-by: {{ .managedBy }}
{{- end -}}
