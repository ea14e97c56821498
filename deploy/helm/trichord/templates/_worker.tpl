{{/* Takes items of jobs out of the queue and has the gateway answer them, behind all that is live. Nobody calls it. */}}

{{- define "trichord.worker.account" -}}{{ include "trichord.fullname" .root }}{{- end }}
{{- define "trichord.worker.needsToken" -}}false{{- end }}
{{- define "trichord.worker.initContainers" }}{{- end }}
{{- define "trichord.worker.annotations" -}}{}{{- end }}

{{- define "trichord.worker.containers" -}}
- name: worker
  image: {{ include "trichord.image" (dict "root" .root "image" .values.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/opt/trichord/bin/python, -m, {{ .package }}]
  env:
    {{- if ne .root.Values.auth.mode "off" }}
    - name: TRICHORD_WORKER_KEY
      valueFrom:
        secretKeyRef: {name: {{ .values.keySecret }}, key: api-key}
    {{- end }}
    {{- include "trichord.jobs.secretEnv" .root | nindent 4 }}
    {{- include "trichord.env" (include "trichord.worker.settings" . | fromYaml) | nindent 4 }}
    {{- include "trichord.resourceEnv" (merge (dict "container" "worker") .) | nindent 4 }}
    {{- with .values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: health, containerPort: 50052}
    - {name: metrics, containerPort: 9090}
  {{- include "trichord.grpcProbes" . | nindent 2 }}
  {{- include "trichord.preStop" . | nindent 2 }}
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    {{- include "trichord.commonMounts" . | nindent 4 }}
    {{- include "trichord.jobs.mounts" .root | nindent 4 }}
{{- end }}

{{/* Gateways are called one by one: behind the headless Service, the connection spreads over all of them. */}}
{{- define "trichord.worker.settings" -}}
{{- $gateway := include "trichord.name" (dict "root" .root "name" "gateway") -}}
{{- $ours := dict
  "TRICHORD_WORKER_LISTEN" "127.0.0.1:50051"
  "TRICHORD_WORKER_HEALTH_LISTEN" "0.0.0.0:50052"
  "TRICHORD_WORKER_METRICS_LISTEN" "0.0.0.0:9090"
  "TRICHORD_WORKER_GATEWAY" (printf "dns:///%s-headless.%s.svc:50051" $gateway .root.Release.Namespace)
  "OMP_NUM_THREADS" "1"
-}}
{{- $jobs := include "trichord.jobs.settings" .root | fromYaml -}}
{{- $drain := include "trichord.drainSettings" (merge (dict "prefix" "TRICHORD_WORKER") .) | fromYaml -}}
{{- $tls := include "trichord.tlsSettings" . | fromYaml -}}
{{- $telemetry := include "trichord.telemetrySettings" . | fromYaml -}}
{{ mergeOverwrite $ours $jobs $drain $tls $telemetry .values.settings | toYaml }}
{{- end }}

{{- define "trichord.worker.volumes" -}}
{{ include "trichord.jobs.volumes" .root }}
{{- end }}

{{/* For Prometheus alone. */}}
{{- define "trichord.worker.services" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector: {{- include "trichord.selector" . | nindent 4 }}
  ports:
    - {name: metrics, port: 9090, targetPort: metrics, appProtocol: http}
{{- end }}

{{- define "trichord.worker.ingress" }}{{- end }}

{{- define "trichord.worker.egress" -}}
- to: {{- include "trichord.peer" (dict "root" .root "name" "gateway") | nindent 4 }}
  ports:
    - {port: grpc, protocol: TCP}
{{ include "trichord.jobs.egress" .root }}
{{- end }}
