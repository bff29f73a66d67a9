{{/*
Every template takes the context of the chart that uses it: `.`, where the dependency has its own name or the alias
`sidespan`, or `(list . "worker")`, where it has that alias. A scope is what they need of it.
*/}}
{{- define "sidespan-sidecar.scope" -}}
{{- $root := . -}}
{{- $key := "" -}}
{{- if kindIs "slice" . -}}
{{- $root = index . 0 -}}
{{- $key = index . 1 -}}
{{- else -}}
{{- $key = hasKey .Values "sidespan-sidecar" | ternary "sidespan-sidecar" "sidespan" -}}
{{- end -}}
{{- $values := get $root.Values $key -}}
{{- if not $values -}}
{{- fail (printf "\nthere are no values under %s: give the dependency sidespan-sidecar that alias" $key) -}}
{{- end -}}
{{- $chart := (get $root.Subcharts $key).Chart -}}
{{- $scope := dict
  "enabled" $values.enabled
  "release" $root.Release.Name
  "name" (printf "%s-%s" ($root.Release.Name | trunc 40 | trimSuffix "-") (trimSuffix "-sidecar" $key))
  "namespace" $root.Release.Namespace
  "managedBy" $root.Release.Service
  "version" $chart.AppVersion
  "values" (omit $values "global")
  "registry" ($values.image.registry | default ($root.Values.global | default dict).imageRegistry | default "")
-}}
{{- if $values.enabled -}}
{{- include "sidespan-sidecar.rules" $scope -}}
{{- end -}}
{{ toYaml $scope }}
{{- end -}}
