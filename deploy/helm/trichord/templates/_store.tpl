{{/* A Valkey for trials: in memory, one replica. The chart's own Secret has its configuration, password and address. */}}

{{- define "trichord.store.account" -}}{{ include "trichord.fullname" .root }}{{- end }}
{{- define "trichord.store.needsToken" -}}false{{- end }}
{{- define "trichord.store.initContainers" }}{{- end }}
{{- define "trichord.store.annotations" -}}{}{{- end }}
{{- define "trichord.store.egress" }}{{- end }}

{{- define "trichord.store.containers" -}}
{{- $image := .values.image -}}
- name: valkey
  image: {{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag }}{{ end }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [valkey-server, /etc/valkey/valkey.conf]
  ports:
    - {name: redis, containerPort: 6379}
  startupProbe:
    tcpSocket: {port: redis}
    periodSeconds: 1
    failureThreshold: {{ .values.startSeconds }}
  readinessProbe:
    tcpSocket: {port: redis}
    periodSeconds: 5
  livenessProbe:
    tcpSocket: {port: redis}
    periodSeconds: 20
    failureThreshold: 3
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    - {name: configuration, mountPath: /etc/valkey, readOnly: true}
{{- end }}

{{- define "trichord.store.volumes" -}}
- name: configuration
  secret:
    secretName: {{ include "trichord.secret" .root }}
    defaultMode: 0440
    items: [{key: {{ .name }}.conf, path: valkey.conf}]
{{- end }}

{{- define "trichord.store.services" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  selector: {{- include "trichord.selector" . | nindent 4 }}
  ports:
    - {name: redis, port: 6379, targetPort: redis, appProtocol: redis}
{{- end }}

{{/* The state is the autoscaler's, too: it reads the gateways' demands there. */}}
{{- define "trichord.store.ingress" -}}
- from:
    {{- include "trichord.peer" (dict "root" .root "name" "gateway") | nindent 4 }}
    {{- if eq .name "state-store" }}
    {{- include "trichord.peer" (dict "root" .root "name" "autoscaler") | nindent 4 }}
    {{- end }}
  ports:
    - {port: redis, protocol: TCP}
{{- end }}

{{/* root, name, maxMemory, policy, password -> its configuration. */}}
{{- define "trichord.store.configuration" -}}
bind * -::*
port 6379
user default on #{{ sha256sum .password }} ~* &* +@all -@admin -@dangerous +info
maxmemory {{ .maxMemory }}
maxmemory-policy {{ .policy }}
save ""
appendonly no
databases 1
{{- end }}
