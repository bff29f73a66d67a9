{{/* The sidecar's container, of a scope. */}}
{{- define "sidespan-sidecar.container" -}}
- name: sidespan
  image: {{ include "sidespan-sidecar.image" . }}
  imagePullPolicy: {{ .values.image.pullPolicy }}
  {{- if .values.native }}
  # With this an init container is a sidecar.
  restartPolicy: Always
  {{- end }}
  args: [serve]
  env:
    - name: SIDESPAN_CONFIG
      value: /etc/sidespan/{{ .values.config.key }}
    {{- range .values.secrets.env }}
    - name: {{ .name }}
      valueFrom: { secretKeyRef: { name: {{ .secret }}, key: {{ .key }} } }
    {{- end }}
    {{- with .values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  # The service's door, 7400, and the operators', 7401, are on loopback.
  ports:
    - { name: sidespan-health, containerPort: 7402 }
  startupProbe:
    httpGet: { path: /startupz, port: sidespan-health }
    {{- toYaml .values.probes.startup | nindent 4 }}
  livenessProbe:
    httpGet: { path: /livez, port: sidespan-health }
    {{- toYaml .values.probes.liveness | nindent 4 }}
  readinessProbe:
    httpGet: { path: {{ get (dict "listeners" "/readyz/listeners" "publish" "/readyz/publish" "subscriptions" "/readyz") .values.readiness }}, port: sidespan-health }
    {{- toYaml .values.probes.readiness | nindent 4 }}
  lifecycle:
    preStop:
      exec:
        command: {{ include "sidespan-sidecar.drain" . }}
  resources:
    {{- toYaml .values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .values.securityContext | nindent 4 }}
  volumeMounts:
    # The whole directory: a single file of it would never change.
    - { name: {{ .name }}-config, mountPath: /etc/sidespan, readOnly: true }
    {{- range include "sidespan-sidecar.secrets" . | fromYamlArray }}
    - { name: {{ printf "%s-secret-%s" $.name . | replace "." "-" | trunc 63 | trimSuffix "-" }}, mountPath: /run/secrets/{{ . }}, readOnly: true }
    {{- end }}
    {{- if .values.ephemeral }}
    - { name: {{ .name }}-data, mountPath: /var/lib/sidespan }
    {{- else if .values.dataVolume }}
    - { name: {{ .values.dataVolume }}, mountPath: /var/lib/sidespan }
    {{- end }}
    {{- with .values.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Names of the Secrets that are mounted, each once. */}}
{{- define "sidespan-sidecar.secrets" -}}
{{- $names := list -}}
{{- range .values.secrets.files }}{{ $names = append $names .secret }}{{ end -}}
{{- uniq $names | toYaml -}}
{{- end -}}

{{- define "sidespan-sidecar.image" -}}
{{- $image := .values.image -}}
{{- $repository := empty .registry | ternary $image.repository (printf "%s/%s" .registry $image.repository) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .version) -}}
{{- end -}}
{{- end -}}

{{/* The hook that finishes deliveries while publishing goes on. The kubelet ends a native sidecar after the service; an
     ordinary one gets SIGTERM when its hook returns, so that the hook waits for the service. */}}
{{- define "sidespan-sidecar.drain" -}}
{{- $command := list "/usr/local/bin/sidespan" "drain" -}}
{{- if not .values.native -}}
{{- $command = concat $command (list "--at-least" .values.service.stopping) -}}
{{- end -}}
{{- with .values.drain.tokenFile -}}
{{- $command = concat $command (list "--token-file" .) -}}
{{- end -}}
{{- toJson $command -}}
{{- end -}}
