{{/*
What the pod of a service takes in. Each is a part of its template:

  metadata:
    labels:      {{ include "sidespan-sidecar.labels" . }}
    annotations: {{ include "sidespan-sidecar.annotations" . }}
  spec:
    {{ include "sidespan-sidecar.pod" . }}
    initContainers: {{ include "sidespan-sidecar.initContainers" . }}     before those that publish
    containers:
      - name: service
        env:     {{ include "sidespan-sidecar.env" . }}
      {{ include "sidespan-sidecar.containers" . }}
    volumes:     {{ include "sidespan-sidecar.volumes" . }}

and `sidespan-sidecar.manifests` the objects beside it. Where there is nothing to say they are empty.
*/}}

{{/* What a PodMonitor finds the pod by. */}}
{{- define "sidespan-sidecar.labels" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if $scope.enabled -}}
sidespan/sidecar: {{ $scope.name }}
{{- end -}}
{{- end -}}

{{- define "sidespan-sidecar.annotations" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if $scope.enabled -}}
sidespan/version: {{ $scope.version | quote }}
{{- if eq $scope.values.config.rollout "restart" }}
checksum/{{ $scope.name }}: {{ include "sidespan-sidecar.config" $scope | sha256sum }}
{{- end }}
{{- with include "sidespan-sidecar.mesh" $scope | trim }}
{{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Of the pod itself: how long it may take to end, and no variables for every Service there is. */}}
{{- define "sidespan-sidecar.pod" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if $scope.enabled -}}
terminationGracePeriodSeconds: {{ include "sidespan-sidecar.grace" $scope }}
enableServiceLinks: false
{{- end -}}
{{- end -}}

{{- define "sidespan-sidecar.initContainers" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if and $scope.enabled $scope.values.native -}}
{{- include "sidespan-sidecar.container" $scope -}}
{{- end -}}
{{- end -}}

{{- define "sidespan-sidecar.containers" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if and $scope.enabled (not $scope.values.native) -}}
{{- include "sidespan-sidecar.container" $scope -}}
{{- end -}}
{{- end -}}

{{/* Where the service finds Sidespan. */}}
{{- define "sidespan-sidecar.env" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if $scope.enabled -}}
- name: SIDESPAN_URL
  value: http://127.0.0.1:7400
{{- end -}}
{{- end -}}

{{- define "sidespan-sidecar.volumes" -}}
{{- $scope := include "sidespan-sidecar.scope" . | fromYaml -}}
{{- if $scope.enabled -}}
- name: {{ $scope.name }}-config
  configMap:
    name: {{ include "sidespan-sidecar.configMap" $scope }}
{{- range include "sidespan-sidecar.secrets" $scope | fromYamlArray }}
- name: {{ printf "%s-secret-%s" $scope.name . | replace "." "-" | trunc 63 | trimSuffix "-" }}
  secret:
    secretName: {{ . }}
{{- end }}
{{- if $scope.values.ephemeral }}
- name: {{ $scope.name }}-data
  emptyDir: {}
{{- end }}
{{- end -}}
{{- end -}}
