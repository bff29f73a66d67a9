{{/* What objects are called, and the labels that they have in common. */}}

{{- define "sidespan.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for `-replicas` behind it, and for the numbers of pods. */}}
{{- define "sidespan.fullname" -}}
{{- $name := include "sidespan.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sidespan.selector" -}}
app.kubernetes.io/name: {{ include "sidespan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "sidespan.labels" -}}
{{ include "sidespan.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sidespan
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The head of an object: its name (or one that ends in something), namespace and labels. */}}
{{- define "sidespan.metadata" -}}
name: {{ include "sidespan.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "sidespan.labels" . | nindent 2 }}
{{- end -}}

{{- define "sidespan.image" -}}
{{- $image := .Values.image -}}
{{- $registry := $image.registry | default .Values.global.imageRegistry -}}
{{- $repository := empty $registry | ternary $image.repository (printf "%s/%s" $registry $image.repository) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "sidespan.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "sidespan.fullname" .) "default") -}}
{{- end -}}
