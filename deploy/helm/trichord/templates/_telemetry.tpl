{{/* What our processes tell of themselves, and who may ask. A "svc" without a package is not one of ours. */}}

{{/* svc -> TRICHORD_TELEMETRY_*; a map, empty without a collector. */}}
{{- define "trichord.telemetrySettings" -}}
{{- with .root.Values.telemetry }}
{{- if .otlpUrl }}
TRICHORD_TELEMETRY_OTLP_URL: {{ .otlpUrl }}
TRICHORD_TELEMETRY_SAMPLE_RATIO: {{ .sampleRatio }}
{{- end }}
{{- end }}
{{- end }}

{{/* svc, container -> which pod spans are of, in OpenTelemetry's words. */}}
{{- define "trichord.resourceEnv" -}}
{{- if .root.Values.telemetry.otlpUrl }}
{{- $fields := dict "K8S_NAMESPACE" "metadata.namespace" "K8S_NODE" "spec.nodeName" "K8S_POD" "metadata.name" "K8S_POD_UID" "metadata.uid" }}
{{- range $name, $field := $fields }}
- name: {{ $name }}
  valueFrom: {fieldRef: {fieldPath: {{ $field }}}}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(K8S_NAMESPACE),k8s.node.name=$(K8S_NODE),k8s.pod.name=$(K8S_POD),k8s.pod.uid=$(K8S_POD_UID),k8s.deployment.name={{ include "trichord.name" . }},k8s.container.name={{ .container }}
{{- end }}
{{- end }}

{{/* svc -> a rule: whoever watches may read the metrics page. */}}
{{- define "trichord.monitoringIngress" -}}
{{- if .package }}
{{- with .root.Values.networkPolicy.monitoringFrom }}
- from: {{- toYaml . | nindent 4 }}
  ports:
    - {port: metrics, protocol: TCP}
{{- end }}
{{- end }}
{{- end }}

{{/* svc -> a rule: the collector may be told, on the port of its address. */}}
{{- define "trichord.collectorEgress" -}}
{{- $address := urlParse .root.Values.telemetry.otlpUrl }}
{{- if and .package $address.host }}
- ports:
    - {port: {{ regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary 443 80 (eq $address.scheme "https")) }}, protocol: TCP}
  {{- with .root.Values.networkPolicy.collectorTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
