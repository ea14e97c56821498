{{/*
Sets how many replicas each modality has: as KEDA's external scaler (a Service that KEDA asks), or directly (it patches
the scale of the Deployments that its Role names, one leader at a time).
*/}}

{{- define "trichord.autoscaler.account" -}}{{ include "trichord.name" . }}{{- end }}
{{- define "trichord.autoscaler.needsToken" -}}{{ eq .values.mode "kubernetes" }}{{- end }}
{{- define "trichord.autoscaler.initContainers" }}{{- end }}
{{- define "trichord.autoscaler.annotations" -}}
checksum/rules: {{ toYaml .values.rules | sha256sum }}
{{- end }}

{{- define "trichord.autoscaler.containers" -}}
- name: autoscaler
  image: {{ include "trichord.image" (dict "root" .root "image" .values.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/opt/trichord/bin/python, -m, {{ .package }}]
  env:
    {{- include "trichord.secretEnv" (dict "root" .root "variable" "TRICHORD_AUTOSCALER_STATE_URL" "key" "state-url") | nindent 4 }}
    {{- include "trichord.env" (include "trichord.autoscaler.settings" . | fromYaml) | nindent 4 }}
    {{- include "trichord.resourceEnv" (merge (dict "container" "autoscaler") .) | nindent 4 }}
    {{- with .values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: grpc, containerPort: 6000}
    - {name: health, containerPort: 50052}
    - {name: metrics, containerPort: 9090}
  {{- include "trichord.grpcProbes" . | nindent 2 }}
  {{- include "trichord.preStop" . | nindent 2 }}
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    {{- include "trichord.commonMounts" . | nindent 4 }}
    - {name: rules, mountPath: /etc/trichord/rules, readOnly: true}
{{- end }}

{{- define "trichord.autoscaler.settings" -}}
{{- $ours := dict
  "TRICHORD_AUTOSCALER_LISTEN" "0.0.0.0:6000"
  "TRICHORD_AUTOSCALER_HEALTH_LISTEN" "0.0.0.0:50052"
  "TRICHORD_AUTOSCALER_METRICS_LISTEN" "0.0.0.0:9090"
  "TRICHORD_AUTOSCALER_ADMIN_LISTEN" "127.0.0.1:50060"
  "TRICHORD_AUTOSCALER_MODE" .values.mode
  "TRICHORD_AUTOSCALER_RULES" "/etc/trichord/rules/rules.yaml"
-}}
{{- if eq .values.mode "kubernetes" -}}
{{- $_ := set $ours "TRICHORD_AUTOSCALER_NAMESPACE" .root.Release.Namespace -}}
{{- $_ := set $ours "TRICHORD_AUTOSCALER_LEASE" (include "trichord.name" .) -}}
{{- $_ := set $ours "TRICHORD_AUTOSCALER_TARGET_PREFIX" (printf "%s-" (include "trichord.fullname" .root)) -}}
{{- end -}}
{{- $drain := include "trichord.drainSettings" (merge (dict "prefix" "TRICHORD_AUTOSCALER") .) | fromYaml -}}
{{- $tls := include "trichord.tlsSettings" . | fromYaml -}}
{{- $telemetry := include "trichord.telemetrySettings" . | fromYaml -}}
{{ mergeOverwrite $ours $drain $tls $telemetry .values.settings | toYaml }}
{{- end }}

{{- define "trichord.autoscaler.volumes" -}}
- name: rules
  configMap:
    name: {{ include "trichord.name" . }}-rules
    defaultMode: 0440
{{- end }}

{{- define "trichord.autoscaler.services" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  selector: {{- include "trichord.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 6000, targetPort: grpc, appProtocol: kubernetes.io/h2c}
    - {name: metrics, port: 9090, targetPort: metrics, appProtocol: http}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "trichord.name" . }}-rules
  labels: {{- include "trichord.labels" . | nindent 4 }}
data:
  rules.yaml: |
    {{- toYaml .values.rules | nindent 4 }}
---
{{- include "trichord.autoscaler.permissions" . }}
{{- end }}

{{- define "trichord.autoscaler.permissions" }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "trichord.autoscaler.account" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- if eq .values.mode "kubernetes" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
rules:
  # A list cannot be allowed by name; nothing of a Deployment is ever written but its scale, and that by name.
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [list]
  - apiGroups: [apps]
    resources: [deployments/scale]
    resourceNames: {{- include "trichord.scaledNames" . | nindent 6 }}
    verbs: [get, update]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [create]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    resourceNames: [{{ include "trichord.name" . }}]
    verbs: [get, update]
  - apiGroups: [""]
    resources: [events]
    verbs: [create]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "trichord.name" . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "trichord.autoscaler.account" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}
{{- end }}

{{/* svc -> the Deployments whose scale it may set. */}}
{{- define "trichord.scaledNames" -}}
{{- $further := ternary (dict "gateway" "gateway" "worker" "job-worker") (dict "gateway" "gateway") .root.Values.jobs.enabled }}
{{- range $modality, $name := include "trichord.modalities" . | fromYaml | merge $further }}
{{- if hasKey $.values.rules.modalities $modality }}
- {{ include "trichord.name" (dict "root" $.root "name" $name) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "trichord.autoscaler.ingress" -}}
{{- if eq .values.mode "keda" }}
- from: {{- toYaml .root.Values.networkPolicy.kedaFrom | nindent 4 }}
  ports:
    - {port: grpc, protocol: TCP}
{{- end }}
{{- end }}

{{- define "trichord.autoscaler.egress" -}}
{{ include "trichord.storeEgress" (dict "root" .root "names" (list "state-store")) }}
{{- if eq .values.mode "kubernetes" }}
- ports:
    - {port: 443, protocol: TCP}
    - {port: 6443, protocol: TCP}
  {{- with .root.Values.networkPolicy.apiServerTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* svc of a modality -> what tells KEDA to ask our scaler about it. */}}
{{- define "trichord.scaledObject" }}
{{- $scaler := dict "root" .root "name" "autoscaler" }}
{{- $rules := index .root.Values.autoscaler.rules.modalities .modality }}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    name: {{ include "trichord.name" . }}
  minReplicaCount: {{ $rules.min_replicas }}
  maxReplicaCount: {{ $rules.max_replicas }}
  pollingInterval: {{ .root.Values.autoscaler.pollingSeconds }}
  # The policy has waited already when it says that none are needed.
  cooldownPeriod: 0
  # Replicas are kept as they are while the scaler does not answer.
  fallback:
    failureThreshold: 3
    replicas: {{ max 1 $rules.min_replicas }}
    behavior: currentReplicasIfHigher
  advanced:
    horizontalPodAutoscalerConfig:
      # The policy decides how many and how fast; the HPA carries it out to the last replica.
      behavior:
        scaleUp:
          stabilizationWindowSeconds: 0
          tolerance: 0
          policies: [{type: Percent, value: 900, periodSeconds: 15}, {type: Pods, value: 8, periodSeconds: 15}]
          selectPolicy: Max
        scaleDown:
          stabilizationWindowSeconds: 0
          tolerance: 0
          policies: [{type: Percent, value: 100, periodSeconds: 15}]
  triggers:
    - type: external-push
      metadata:
        scalerAddress: {{ include "trichord.name" $scaler }}.{{ .root.Release.Namespace }}.svc:6000
        modality: {{ .modality }}
      {{- if .root.Values.tls.enabled }}
      authenticationRef:
        name: {{ include "trichord.name" $scaler }}
      {{- end }}
{{- end }}
