{{/* What every container of ours has. */}}

{{/* A map of variables -> a list; numbers that are whole are never written as 4.2e+10. */}}
{{- define "trichord.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ include "trichord.text" $value | quote }}
{{- end }}
{{- end }}

{{- define "trichord.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* root, variable, key -> one variable out of the Secret. */}}
{{- define "trichord.secretEnv" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "trichord.secret" .root }}
      key: {{ .key }}
{{- end }}

{{- define "trichord.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "trichord.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* svc, prefix -> how one of our servers drains: told by SIGTERM, after the preStop sleep. */}}
{{- define "trichord.drainSettings" -}}
{{ .prefix }}_DRAIN_NOTICE_S: {{ .root.Values.drain.noticeSeconds }}
{{ .prefix }}_DRAIN_TIMEOUT_S: {{ .values.drainTimeoutSeconds }}
{{- end }}

{{/* svc -> seconds from the pod's deletion to SIGKILL: all that a drain may take, and Triton's own end after it. */}}
{{- define "trichord.graceSeconds" -}}
{{- $drain := .root.Values.drain -}}
{{- add $drain.endpointsSeconds $drain.noticeSeconds .values.drainTimeoutSeconds $drain.tritonSeconds 5 -}}
{{- end }}

{{/* svc -> before SIGTERM: endpoints are taken away while everything is still served. */}}
{{- define "trichord.preStop" -}}
{{- with .root.Values.drain.endpointsSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ . }}
{{- end }}
{{- end }}

{{/* svc -> probes of a gRPC server's health port: ready by the service's own judgement, alive while it answers. */}}
{{- define "trichord.grpcProbes" -}}
startupProbe:
  grpc:
    port: 50052
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ div (add .values.startSeconds 4) 5 }}
readinessProbe:
  grpc:
    port: 50052
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  grpc:
    port: 50052
    service: liveness
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
  terminationGracePeriodSeconds: 30
{{- end }}

{{/* svc -> TRICHORD_TLS_*; a map. */}}
{{- define "trichord.tlsSettings" -}}
{{- with .root.Values.tls }}
{{- if .enabled }}
TRICHORD_TLS_CERTIFICATE: /etc/trichord/tls/tls.crt
TRICHORD_TLS_KEY: /etc/trichord/tls/tls.key
TRICHORD_TLS_CA: /etc/trichord/tls/ca.crt
TRICHORD_TLS_SERVER_NAME: {{ .serverName | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* svc -> what the containers of a service mount beside its own. */}}
{{- define "trichord.commonMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .root.Values.tls.enabled }}
- name: tls
  mountPath: /etc/trichord/tls
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "trichord.commonVolumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: {{ .values.tmpSize }}
{{- if .root.Values.tls.enabled }}
- name: tls
  secret:
    secretName: {{ .root.Values.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
