{{/*
One service. A service's file includes trichord.service with a dict:
  root      $
  kind      which templates fill it in: trichord.<kind>.{containers,initContainers,volumes,ingress,egress,services}
  name      of its Deployment and its component label
  values    its own values
  modality  under which the autoscaler and the gateway know it, if they do
  package   the Python package that serves it
*/}}
{{- define "trichord.service" -}}
{{- include "trichord.deployment" . }}
---
{{- include (printf "trichord.%s.services" .kind) . }}
---
{{- include "trichord.disruption" . }}
{{- if .root.Values.networkPolicy.enabled }}
---
{{- include "trichord.networkPolicy" . }}
{{- end }}
{{- if and (include "trichord.hasKeda" .root) (include "trichord.isScaled" .) }}
---
{{- include "trichord.scaledObject" . }}
{{- end }}
{{- end }}

{{- define "trichord.deployment" }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  {{- if not (include "trichord.isScaled" .) }}
  replicas: {{ .values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  minReadySeconds: 5
  progressDeadlineSeconds: {{ add .values.startSeconds 300 }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {{- toYaml .values.rollout | nindent 6 }}
  selector:
    matchLabels: {{- include "trichord.selector" . | nindent 6 }}
  template:
    metadata:
      labels: {{- include "trichord.labels" . | nindent 8 }}
      {{- with mergeOverwrite (dict) .values.podAnnotations (include (printf "trichord.%s.annotations" .kind) . | fromYaml) }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec: {{- include "trichord.pod" . | nindent 6 }}
{{- end }}

{{- define "trichord.pod" -}}
serviceAccountName: {{ include (printf "trichord.%s.account" .kind) . }}
automountServiceAccountToken: {{ include (printf "trichord.%s.needsToken" .kind) . }}
# A Service's variables would look like settings (TRICHORD_GATEWAY_SERVICE_HOST), which no process would start with.
enableServiceLinks: false
securityContext: {{- include "trichord.podSecurity" . | nindent 2 }}
terminationGracePeriodSeconds: {{ include "trichord.graceSeconds" . }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "trichord.priorityClass" . }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.accelerator }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if eq .mode "dra" }}
resourceClaims:
  - name: accelerator
    resourceClaimTemplateName: {{ include "trichord.name" $ }}
{{- end }}
{{- end }}
topologySpreadConstraints: {{- include "trichord.spread" . | nindent 2 }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- include (printf "trichord.%s.initContainers" .kind) . }}
containers: {{- include (printf "trichord.%s.containers" .kind) . | nindent 2 }}
volumes:
  {{- include "trichord.commonVolumes" . | nindent 2 }}
  {{- include (printf "trichord.%s.volumes" .kind) . | nindent 2 }}
{{- end }}

{{- define "trichord.priorityClass" -}}
{{- if .values.priorityClassName }}{{ .values.priorityClassName }}
{{- else if .root.Values.priorityClasses.create }}{{ include "trichord.name" . }}{{ end -}}
{{- end }}

{{- define "trichord.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "trichord.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/* At most one at a time: never blocks a drain, whatever the number of replicas. */}}
{{- define "trichord.disruption" }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "trichord.selector" . | nindent 6 }}
{{- end }}

{{- define "trichord.networkPolicy" }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "trichord.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- $own := include (printf "trichord.%s.ingress" .kind) . | fromYamlArray }}
  ingress: {{- concat $own (include "trichord.monitoringIngress" . | fromYamlArray) | default list | toYaml | nindent 4 }}
  egress:
    {{- include "trichord.dnsEgress" .root | nindent 4 }}
    {{- include (printf "trichord.%s.egress" .kind) . | nindent 4 }}
    {{- include "trichord.collectorEgress" . | nindent 4 }}
    {{- with .values.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "trichord.dnsEgress" -}}
- to: {{- toYaml .Values.networkPolicy.dnsTo | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end }}

{{/* root, name -> a peer: the pods of another component of this release. */}}
{{- define "trichord.peer" -}}
- podSelector:
    matchLabels: {{- include "trichord.selector" . | nindent 6 }}
{{- end }}
