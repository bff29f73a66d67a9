{{/* The pod, which a Deployment and a StatefulSet have alike. */}}

{{- define "sidespan.annotations" -}}
{{- if eq .Values.config.rollout "restart" }}
checksum/config: {{ include "sidespan.config" . | sha256sum }}
{{- end }}
{{- with include "sidespan.mesh" . }}
{{ . }}
{{- end }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sidespan.pod" -}}
metadata:
  labels:
    # None that changes with the chart's version: a new chart alone replaces no pod.
    {{- include "sidespan.selector" . | nindent 4 }}
    {{- with merge (dict) .Values.podLabels .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "sidespan.annotations" . | trim }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.imagePullSecrets | default .Values.global.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "sidespan.serviceAccount" . }}
  # Sidespan never calls the API server. Consul's proxy logs in with the token that the pod has.
  automountServiceAccountToken: {{ eq .Values.mesh.kind "consul" }}
  # A Service of any name would put its variables here.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "sidespan.grace" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    {{- include "sidespan.container" . | nindent 4 }}
  volumes:
    {{- include "sidespan.volumes" . | nindent 4 }}
  {{- with include "sidespan.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sidespan.container" -}}
- name: sidespan
  image: {{ include "sidespan.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve]
  env:
    - name: SIDESPAN_CONFIG
      value: /etc/sidespan/{{ .Values.config.key }}
    {{- if .Values.replicas.secret }}
    - name: POD_IP
      valueFrom: { fieldRef: { fieldPath: status.podIP } }
    - name: SIDESPAN__REPLICAS__ADVERTISE
      value: {{ eq .Values.ipFamily "IPv6" | ternary "[$(POD_IP)]:7400" "$(POD_IP):7400" | quote }}
    {{- end }}
    {{- range .Values.secrets.env }}
    - name: {{ .name }}
      valueFrom: { secretKeyRef: { name: {{ .secret }}, key: {{ .key }} } }
    {{- end }}
    {{- with .Values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - { name: http, containerPort: 7400 }
    - { name: health, containerPort: 7402 }
  startupProbe:
    httpGet: { path: /startupz, port: health }
    {{- toYaml .Values.probes.startup | nindent 4 }}
  livenessProbe:
    httpGet: { path: /livez, port: health }
    {{- toYaml .Values.probes.liveness | nindent 4 }}
  readinessProbe:
    httpGet: { path: {{ get (dict "listeners" "/readyz/listeners" "publish" "/readyz/publish" "subscriptions" "/readyz") .Values.readiness }}, port: health }
    {{- toYaml .Values.probes.readiness | nindent 4 }}
  lifecycle:
    preStop:
      exec:
        command: {{ include "sidespan.drain" . }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    # The whole directory: a single file of it would never change.
    - { name: config, mountPath: /etc/sidespan, readOnly: true }
    {{- range include "sidespan.secrets" . | fromYamlArray }}
    - { name: {{ printf "secret-%s" . | replace "." "-" | trunc 63 | trimSuffix "-" }}, mountPath: /run/secrets/{{ . }}, readOnly: true }
    {{- end }}
    {{- if or .Values.persistence.enabled .Values.ephemeral }}
    - { name: data, mountPath: /var/lib/sidespan }
    {{- end }}
    {{- with .Values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The hook that finishes deliveries while publishing goes on. */}}
{{- define "sidespan.drain" -}}
{{- $command := list "/usr/local/bin/sidespan" "drain" -}}
{{- if include "sidespan.seconds" .Values.drain.atLeast | int -}}
{{- $command = concat $command (list "--at-least" .Values.drain.atLeast) -}}
{{- end -}}
{{- with .Values.drain.tokenFile -}}
{{- $command = concat $command (list "--token-file" .) -}}
{{- end -}}
{{- toJson $command -}}
{{- end -}}

{{/* Names of the Secrets that are mounted, each once. */}}
{{- define "sidespan.secrets" -}}
{{- $names := list -}}
{{- range .Values.secrets.files }}{{ $names = append $names .secret }}{{ end -}}
{{- with .Values.replicas.secret }}{{ $names = append $names . }}{{ end -}}
{{- uniq $names | toYaml -}}
{{- end -}}

{{- define "sidespan.volumes" -}}
- name: config
  configMap:
    name: {{ include "sidespan.configMap" . }}
{{- range include "sidespan.secrets" . | fromYamlArray }}
- name: {{ printf "secret-%s" . | replace "." "-" | trunc 63 | trimSuffix "-" }}
  secret:
    secretName: {{ . }}
    # Readable by the pod's group, and by nobody else.
    defaultMode: 0440
{{- end }}
{{- if .Values.ephemeral }}
- name: data
  emptyDir: {}
{{- else if and .Values.persistence.enabled .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim: { claimName: {{ .Values.persistence.existingClaim }} }
{{- end }}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sidespan.placement" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range .Values.topologySpread.keys }}
  - topologyKey: {{ . }}
    maxSkew: {{ $.Values.topologySpread.maxSkew }}
    whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "sidespan.selector" $ | nindent 8 }}
    # The pods of a rollout are spread among themselves.
    matchLabelKeys: [{{ $.Values.persistence.enabled | ternary "controller-revision-hash" "pod-template-hash" }}]
  {{- end }}
{{- end }}
{{- end -}}
