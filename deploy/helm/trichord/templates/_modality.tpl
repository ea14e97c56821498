{{/*
A modality's pod: our front, and beside it a Triton that only the front can reach. Triton is a native sidecar, so it
starts first, is killed last, and is there until the front has drained.
*/}}

{{- define "trichord.modality.account" -}}{{ include "trichord.fullname" .root }}{{- end }}
{{- define "trichord.modality.needsToken" -}}false{{- end }}
{{- define "trichord.modality.annotations" -}}{}{{- end }}

{{/* root -> the checkpoint's directory in every container. */}}
{{- define "trichord.checkpoint" -}}
{{- if eq .Values.model.source "pull" -}}
/var/lib/trichord/checkpoints/{{ .Values.model.name }}
{{- else if and (eq .Values.model.source "image") .Values.model.image.path -}}
/checkpoint/{{ .Values.model.image.path }}
{{- else -}}
/checkpoint
{{- end -}}
{{- end }}

{{- define "trichord.modality.containers" -}}
- name: front
  image: {{ include "trichord.image" (dict "root" .root "image" .values.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/opt/trichord/bin/python, -m, {{ .package }}]
  env: {{- include "trichord.env" (include "trichord.modality.settings" . | fromYaml) | nindent 4 }}
    {{- include "trichord.resourceEnv" (merge (dict "container" "front") .) | nindent 4 }}
    {{- with .values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: grpc, containerPort: 50051}
    - {name: health, containerPort: 50052}
    - {name: metrics, containerPort: 9090}
  {{- include "trichord.grpcProbes" . | nindent 2 }}
  {{- include "trichord.preStop" . | nindent 2 }}
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    {{- include "trichord.checkpointMount" . | nindent 4 }}
    {{- include "trichord.commonMounts" . | nindent 4 }}
{{- end }}

{{/* svc -> the front's variables; what values.settings says goes last. */}}
{{- define "trichord.modality.settings" -}}
{{- $prefix := printf "TRICHORD_%s" (upper .modality) -}}
{{- $model := .root.Values.model -}}
{{- $ours := dict
  (printf "%s_LISTEN" $prefix) "0.0.0.0:50051"
  (printf "%s_HEALTH_LISTEN" $prefix) "0.0.0.0:50052"
  (printf "%s_METRICS_LISTEN" $prefix) "0.0.0.0:9090"
  (printf "%s_TRITON" $prefix) "127.0.0.1:8001"
  (printf "%s_TRITON_METRICS" $prefix) "http://127.0.0.1:8002/metrics"
  (printf "%s_CHECKPOINT" $prefix) (include "trichord.checkpoint" .root)
  (printf "%s_BACKEND" $prefix) $model.backend
  "OMP_NUM_THREADS" "1"
-}}
{{- if $model.dtype }}{{ $_ := set $ours (printf "%s_DTYPE" $prefix) $model.dtype }}{{ end -}}
{{- $drain := include "trichord.drainSettings" (merge (dict "prefix" $prefix) .) | fromYaml -}}
{{- $tls := include "trichord.tlsSettings" . | fromYaml -}}
{{- $telemetry := include "trichord.telemetrySettings" . | fromYaml -}}
{{ mergeOverwrite $ours $drain $tls $telemetry .values.settings | toYaml }}
{{- end }}

{{/* The model's files are made ready in order: pulled or checked, a repository rendered, then Triton started. */}}
{{- define "trichord.modality.initContainers" }}
initContainers:
  {{- if eq .root.Values.model.source "pull" }}
  {{- $pull := .root.Values.model.pull.from }}
  {{- $command := list "checkpoint" "pull" $pull }}
  {{- if contains "/" $pull }}{{ $command = concat $command (list "--config" .root.Values.model.name) }}{{ end }}
  {{- include "trichord.modality.step" (merge (dict "step" "pull" "command" $command) .) | nindent 2 }}
  {{- else if .root.Values.model.verify }}
  {{- $command := list "checkpoint" "verify" (include "trichord.checkpoint" .root) }}
  {{- include "trichord.modality.step" (merge (dict "step" "verify" "command" $command) .) | nindent 2 }}
  {{- end }}
  {{- $command := list "triton" "render" .package "/models/repository" "--checkpoint" (include "trichord.checkpoint" .root) }}
  {{- with .root.Values.model.dtype }}{{ $command = concat $command (list "--dtype" .) }}{{ end }}
  {{- include "trichord.modality.step" (merge (dict "step" "render" "command" $command) .) | nindent 2 }}
  {{- include "trichord.modality.triton" . | nindent 2 }}
{{- end }}

{{/* svc, step, command -> one step of preparation: the `trichord` command out of the Triton image. */}}
{{- define "trichord.modality.step" -}}
- name: {{ .step }}
  image: {{ include "trichord.image" (dict "root" .root "image" .values.triton.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: {{- concat (list "/opt/trichord/bin/trichord") .command | toYaml | nindent 4 }}
  env:
    - {name: TRICHORD_HOME, value: /var/lib/trichord}
    - {name: HOME, value: /tmp}
    {{- if eq .step "pull" }}
    - {name: HF_HOME, value: /var/lib/trichord/huggingface}
    {{- with .root.Values.model.pull.tokenSecret }}
    - name: HF_TOKEN
      valueFrom:
        secretKeyRef: {name: {{ . }}, key: token}
    {{- end }}
    {{- end }}
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .root.Values.model.prepare.resources | nindent 4 }}
  volumeMounts:
    {{- include "trichord.checkpointMount" (merge (dict "writes" (eq .step "pull")) .) | nindent 4 }}
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* The flags of trichord.triton.runtime: loopback only, what administers it closed, no HTTP. */}}
{{- define "trichord.modality.triton" -}}
- name: triton
  restartPolicy: Always
  image: {{ include "trichord.image" (dict "root" .root "image" .values.triton.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/opt/tritonserver/bin/tritonserver]
  args:
    - --model-repository=/models/repository
    - --backend-directory=/opt/tritonserver/backends
    - --disable-auto-complete-config
    - --model-control-mode=none
    - --strict-readiness=true
    - --exit-timeout-secs=2
    - --grpc-address=127.0.0.1
    - --grpc-port=8001
    - --grpc-restricted-protocol=shared-memory,model-repository,trace,logging:admin=$(TRITON_ADMIN_KEY)
    - --allow-http=false
    - --metrics-address=127.0.0.1
    - --metrics-port=8002
    {{- include "trichord.modality.traceFlags" . | nindent 4 }}
  env:
    {{- include "trichord.secretEnv" (dict "root" .root "variable" "TRITON_ADMIN_KEY" "key" "triton-admin-key") | nindent 4 }}
    {{- include "trichord.env" (include "trichord.modality.tritonSettings" . | fromYaml) | nindent 4 }}
    {{- include "trichord.resourceEnv" (merge (dict "container" "triton") .) | nindent 4 }}
    {{- with .values.triton.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  livenessProbe:
    # Its ports are on loopback, where the kubelet cannot ask.
    exec:
      command: [/opt/trichord/bin/python, -I, -S, -c, 'import urllib.request as r; r.urlopen("http://127.0.0.1:8002/metrics", timeout=8)']
    # Nothing listens until the model is loaded: until then the front's startup probe is the one that counts.
    initialDelaySeconds: {{ .values.startSeconds }}
    periodSeconds: 30
    timeoutSeconds: 10
    failureThreshold: 5
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- include "trichord.tritonResources" . | nindent 4 }}
  volumeMounts:
    {{- include "trichord.checkpointMount" . | nindent 4 }}
    - {name: models, mountPath: /models, readOnly: true}
    - {name: shm, mountPath: /dev/shm}
    - {name: cache, mountPath: /var/cache/trichord}
    - {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "trichord.modality.tritonSettings" -}}
{{- $model := .root.Values.model -}}
{{- $ours := dict
  "TRICHORD_MODEL_CHECKPOINT" (include "trichord.checkpoint" .root)
  "TRICHORD_MODEL_BACKEND" $model.backend
  "TRICHORD_MODEL_THREADS" .values.triton.threads
  "OMP_NUM_THREADS" .values.triton.threads
  "OMP_WAIT_POLICY" "PASSIVE"
  "TRICHORD_HOME" "/var/cache/trichord"
  "TRITON_CACHE_DIR" "/var/cache/trichord/kernels"
  "HOME" "/tmp"
-}}
{{- if $model.dtype }}{{ $_ := set $ours "TRICHORD_MODEL_DTYPE" $model.dtype }}{{ end -}}
{{- $telemetry := include "trichord.telemetrySettings" . | fromYaml -}}
{{ mergeOverwrite $ours $telemetry .values.triton.settings | toYaml }}
{{- end }}

{{/* Triton's own spans, of requests that come with a trace context and of no others. */}}
{{- define "trichord.modality.traceFlags" -}}
{{- with .root.Values.telemetry.otlpUrl }}
- --trace-config=mode=opentelemetry
- --trace-config=rate=0
- --trace-config=level=TIMESTAMPS
- --trace-config=opentelemetry,url={{ trimSuffix "/" . }}/v1/traces
- --trace-config=opentelemetry,resource=service.name={{ $.name }}-triton
- --trace-config=opentelemetry,bsp_schedule_delay=1000
{{- end }}
{{- end }}

{{/* svc -> values.triton.resources with the accelerator in its limits, or claimed. */}}
{{- define "trichord.tritonResources" -}}
{{- $accelerator := .values.accelerator -}}
{{- $resources := deepCopy .values.triton.resources -}}
{{- if eq $accelerator.mode "devicePlugin" -}}
{{- $device := dict $accelerator.resource $accelerator.count -}}
{{- $resources = merge $resources (dict "limits" $device "requests" $device) -}}
{{- else if eq $accelerator.mode "dra" -}}
{{- $resources = merge $resources (dict "claims" (list (dict "name" "accelerator"))) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end }}

{{- define "trichord.checkpointMount" -}}
{{- if eq .root.Values.model.source "pull" }}
- {name: home, mountPath: /var/lib/trichord, readOnly: {{ not .writes }}}
{{- else }}
- name: checkpoint
  mountPath: /checkpoint
  readOnly: true
  {{- if eq .root.Values.model.source "pvc" }}
  {{- with .root.Values.model.pvc.subPath }}
  subPath: {{ . }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "trichord.modality.volumes" -}}
{{- $model := .root.Values.model -}}
{{- if eq $model.source "pull" -}}
- name: home
  emptyDir:
    sizeLimit: {{ $model.pull.sizeLimit }}
{{- else if eq $model.source "image" }}
- name: checkpoint
  image:
    reference: {{ $model.image.reference }}
    pullPolicy: {{ $model.image.pullPolicy }}
{{- else }}
- name: checkpoint
  persistentVolumeClaim:
    claimName: {{ $model.pvc.claim }}
    readOnly: true
{{- end }}
- name: models
  emptyDir:
    sizeLimit: 16Mi
- name: cache
  emptyDir:
    sizeLimit: 1Gi
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .values.triton.sharedMemory }}
{{- end }}

{{/* Headless: the gateway balances over replicas by itself. */}}
{{- define "trichord.modality.services" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: false
  selector: {{- include "trichord.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: kubernetes.io/h2c}
    - {name: metrics, port: 9090, targetPort: metrics, appProtocol: http}
{{- if eq .values.accelerator.mode "dra" }}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  metadata:
    labels: {{- include "trichord.labels" . | nindent 6 }}
  spec:
    devices:
      requests:
        - name: accelerator
          exactly:
            deviceClassName: {{ .values.accelerator.deviceClass }}
            allocationMode: ExactCount
            count: {{ .values.accelerator.count }}
{{- end }}
{{- end }}

{{/* Calls from the gateway alone. Triton's own ports are on loopback. */}}
{{- define "trichord.modality.ingress" -}}
- from: {{- include "trichord.peer" (dict "root" .root "name" "gateway") | nindent 4 }}
  ports:
    - {port: grpc, protocol: TCP}
{{- end }}

{{- define "trichord.modality.egress" -}}
{{- if eq .root.Values.model.source "pull" }}
{{- with .root.Values.networkPolicy.pullEgress }}
{{- toYaml . }}
{{- end }}
{{- end }}
{{- end }}
