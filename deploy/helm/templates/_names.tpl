{{/* The release's name, which all objects begin with. */}}
{{- define "varve.name" -}}
{{- if contains "varve" .Release.Name }}{{ .Release.Name | trunc 48 | trimSuffix "-" }}{{ else }}{{ printf "%s-varve" .Release.Name | trunc 48 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What selects the pods of a role: call it with (dict "root" $ "role" name). */}}
{{- define "varve.selector" -}}
app.kubernetes.io/name: varve
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "varve.labels" -}}
{{ include "varve.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "varve.image" -}}
{{- $image := .Values.image -}}
{{- $repository := required "image.repository: name the repository that holds Varve's image (deploy/Dockerfile builds it)" $image.repository -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}{{ else }}{{ $repository }}:{{ required "image.tag or image.digest: name the version that is to run" $image.tag }}{{ end }}
{{- end }}
