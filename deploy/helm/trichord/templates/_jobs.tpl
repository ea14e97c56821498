{{/* What gateways and workers share: where jobs are kept, and the queue that carries them. Nothing without jobs.enabled. */}}

{{/* root -> TRICHORD_JOBS_* and AWS_*; a map. What jobs.settings says goes last. */}}
{{- define "trichord.jobs.settings" -}}
{{- with .Values.jobs }}
{{- if .enabled }}
{{- $ours := dict
  "TRICHORD_JOBS_STORE" (.store.url | default "/var/lib/trichord/jobs")
  "TRICHORD_JOBS_KAFKA" .kafka.bootstrap
  "TRICHORD_JOBS_KAFKA_SECURITY_PROTOCOL" .kafka.securityProtocol
-}}
{{- if hasPrefix "SASL" .kafka.securityProtocol }}{{ $_ := set $ours "TRICHORD_JOBS_KAFKA_SASL_MECHANISM" .kafka.saslMechanism }}{{ end -}}
{{- if .kafka.caSecret }}{{ $_ := set $ours "TRICHORD_JOBS_KAFKA_CA_FILE" "/etc/trichord/kafka/ca.crt" }}{{ end -}}
{{ mergeOverwrite $ours .store.environment .settings | toYaml }}
{{- end }}
{{- end }}
{{- end }}

{{/* root -> what of it is secret. */}}
{{- define "trichord.jobs.secretEnv" -}}
{{- with .Values.jobs }}
{{- if and .enabled (hasPrefix "SASL" .kafka.securityProtocol) }}
{{- range $field := list "username" "password" }}
- name: TRICHORD_JOBS_KAFKA_{{ upper $field }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.jobs.kafka.existingSecret }}, key: {{ $field }}}
{{- end }}
{{- end }}
{{- if and .enabled .store.credentialsSecret }}
{{- range $name := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $.Values.jobs.store.credentialsSecret }}, key: {{ $name }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "trichord.jobs.mounts" -}}
{{- with .Values.jobs }}
{{- if and .enabled (not .store.url) }}
- {name: jobs, mountPath: /var/lib/trichord/jobs}
{{- end }}
{{- if and .enabled .kafka.caSecret }}
- {name: kafka, mountPath: /etc/trichord/kafka, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{- define "trichord.jobs.volumes" -}}
{{- with .Values.jobs }}
{{- if and .enabled (not .store.url) }}
- name: jobs
  persistentVolumeClaim:
    claimName: {{ .store.claim }}
{{- end }}
{{- if and .enabled .kafka.caSecret }}
- name: kafka
  secret:
    secretName: {{ .kafka.caSecret }}
    defaultMode: 0440
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{/* root -> rules: to the brokers, and to the store if it is not a claim. */}}
{{- define "trichord.jobs.egress" -}}
{{- $policy := .Values.networkPolicy -}}
{{- with .Values.jobs }}
{{- if .enabled }}
- ports:
    {{- range $policy.kafkaPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $policy.kafkaTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- if and .enabled .store.url }}
- ports:
    {{- range $policy.objectStorePorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $policy.objectStoreTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where one gateway's usage events wait for the queue: a directory that no other process uses. */}}
{{- define "trichord.jobs.spoolMount" -}}
{{- if .Values.jobs.enabled }}
- {name: usage, mountPath: /var/lib/trichord/usage}
{{- end }}
{{- end }}

{{- define "trichord.jobs.spoolEnv" -}}
{{- if .Values.jobs.enabled }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: TRICHORD_USAGE_SPOOL, value: /var/lib/trichord/usage/$(POD_NAME)}
{{- end }}
{{- end }}

{{- define "trichord.jobs.spoolVolume" -}}
{{- with .Values.jobs }}
{{- if .enabled }}
- name: usage
  {{- if .usageSpool.claim }}
  persistentVolumeClaim:
    claimName: {{ .usageSpool.claim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .usageSpool.size }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}
