{{/* Names, labels and images. "svc" is what a service's file passes to trichord.service: root, kind, name, values. */}}

{{- define "trichord.fullname" -}}
{{- $release := .Release.Name -}}
{{- ternary $release (printf "%s-trichord" $release) (contains "trichord" $release) | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* svc -> the name of its Deployment and Service. */}}
{{- define "trichord.name" -}}
{{ include "trichord.fullname" .root }}-{{ .name }}
{{- end }}

{{/* svc -> what selectors are made of; never changes in the life of a release. */}}
{{- define "trichord.selector" -}}
app.kubernetes.io/name: trichord
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "trichord.labels" -}}
{{ include "trichord.selector" . }}
app.kubernetes.io/part-of: trichord
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* root, image {name, digest} -> a reference; a digest wins over the tag. */}}
{{- define "trichord.image" -}}
{{- $name := printf "%s/%s" .root.Values.image.repository .image.name -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* root -> the Secret of the stores' addresses and the gateways' shared secrets. */}}
{{- define "trichord.secret" -}}
{{ if .Values.valkey.enabled }}{{ include "trichord.fullname" . }}-generated{{ else }}{{ .Values.existingSecret }}{{ end }}
{{- end }}

{{/* svc -> "true" if something else sets the number of its replicas, which is then left out of the Deployment. */}}
{{- define "trichord.isScaled" -}}
{{- $scaler := .root.Values.autoscaler -}}
{{- $is_there := or (eq $scaler.mode "kubernetes") (include "trichord.hasKeda" .root) -}}
{{- if and .modality (ne $scaler.mode "off") $is_there (hasKey $scaler.rules.modalities .modality) }}true{{ end -}}
{{- end }}

{{/* root -> "true" if ScaledObjects are wanted and known here. */}}
{{- define "trichord.hasKeda" -}}
{{- if and (eq .Values.autoscaler.mode "keda") (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") }}true{{ end -}}
{{- end }}

{{/* Every modality, and the service that serves it. */}}
{{- define "trichord.modalities" -}}
vision: vision-encoder
audio: audio-encoder
decoder: llm-decoder
{{- end }}
