{{/* The front door: gRPC and HTTP on one process. */}}

{{- define "trichord.gateway.account" -}}{{ include "trichord.fullname" .root }}{{- end }}
{{- define "trichord.gateway.needsToken" -}}false{{- end }}
{{- define "trichord.gateway.initContainers" }}{{- end }}

{{/* Plans are read at start: another file means other pods. */}}
{{- define "trichord.gateway.annotations" -}}
{{- if .values.plans -}}
checksum/plans: {{ toYaml .values.plans | sha256sum }}
{{- else -}}
{}
{{- end -}}
{{- end }}

{{- define "trichord.gateway.containers" -}}
- name: gateway
  image: {{ include "trichord.image" (dict "root" .root "image" .values.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/opt/trichord/bin/python, -m, {{ .package }}]
  env:
    {{- include "trichord.secretEnv" (dict "root" .root "variable" "TRICHORD_GATEWAY_CACHE_URL" "key" "cache-url") | nindent 4 }}
    {{- include "trichord.secretEnv" (dict "root" .root "variable" "TRICHORD_GATEWAY_STATE_URL" "key" "state-url") | nindent 4 }}
    {{- include "trichord.secretEnv" (dict "root" .root "variable" "TRICHORD_GATEWAY_STORE_SECRET" "key" "store-secret") | nindent 4 }}
    {{- include "trichord.jobs.secretEnv" .root | nindent 4 }}
    {{- include "trichord.jobs.spoolEnv" .root | nindent 4 }}
    {{- include "trichord.env" (include "trichord.gateway.settings" . | fromYaml) | nindent 4 }}
    {{- include "trichord.resourceEnv" (merge (dict "container" "gateway") .) | nindent 4 }}
    {{- with .values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - {name: grpc, containerPort: 50051}
    - {name: http, containerPort: 8080}
    - {name: metrics, containerPort: 9090}
  startupProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 2
    failureThreshold: {{ div (add .values.startSeconds 1) 2 }}
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 2
  livenessProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 20
    timeoutSeconds: 10
    failureThreshold: 3
    terminationGracePeriodSeconds: 30
  {{- include "trichord.preStop" . | nindent 2 }}
  securityContext: {{- include "trichord.containerSecurity" . | nindent 4 }}
  resources: {{- toYaml .values.resources | nindent 4 }}
  volumeMounts:
    {{- include "trichord.commonMounts" . | nindent 4 }}
    - {name: auth, mountPath: /etc/trichord/auth, readOnly: true}
    {{- include "trichord.jobs.mounts" .root | nindent 4 }}
    {{- include "trichord.jobs.spoolMount" .root | nindent 4 }}
    {{- if .values.plans }}
    - {name: plans, mountPath: /etc/trichord/plans, readOnly: true}
    {{- end }}
{{- end }}

{{- define "trichord.gateway.settings" -}}
{{- $root := .root -}}
{{- $ours := dict
  "TRICHORD_GATEWAY_LISTEN" "0.0.0.0:50051"
  "TRICHORD_GATEWAY_METRICS_LISTEN" "0.0.0.0:9090"
  "TRICHORD_HTTP_LISTEN" "0.0.0.0:8080"
  "TRICHORD_AUTH_MODE" $root.Values.auth.mode
  "TRICHORD_AUTH_SECRET" "/etc/trichord/auth/tenant-secret"
  "OMP_NUM_THREADS" "1"
-}}
{{- range $modality, $name := include "trichord.modalities" . | fromYaml -}}
{{- $service := include "trichord.name" (dict "root" $root "name" $name) -}}
{{- $_ := set $ours (printf "TRICHORD_GATEWAY_%s" (upper $modality)) (printf "dns:///%s.%s.svc:50051" $service $root.Release.Namespace) -}}
{{- end -}}
{{- if has $root.Values.auth.mode (list "keys" "both") }}{{ $_ := set $ours "TRICHORD_AUTH_KEYS" "/etc/trichord/auth/keys.json" }}{{ end -}}
{{- if eq $root.Values.auth.mode "off" }}{{ $_ := set $ours "TRICHORD_AUTH_OFF_BEYOND_LOOPBACK" "true" }}{{ end -}}
{{- if has $root.Values.auth.mode (list "oidc" "both") -}}
{{- $_ := set $ours "TRICHORD_AUTH_OIDC_ISSUER" $root.Values.auth.oidc.issuer -}}
{{- $_ := set $ours "TRICHORD_AUTH_OIDC_AUDIENCE" $root.Values.auth.oidc.audience -}}
{{- $_ := set $ours "TRICHORD_AUTH_OIDC_JWKS_URL" $root.Values.auth.oidc.jwksUrl -}}
{{- end -}}
{{- $scaler := $root.Values.autoscaler.mode -}}
{{- if or (eq $scaler "kubernetes") (include "trichord.hasKeda" $root) }}{{ $_ := set $ours "TRICHORD_WAKING_AUTOSCALED" "true" }}{{ end -}}
{{- if .values.plans }}{{ $_ := set $ours "TRICHORD_ADMISSION_PLANS" "/etc/trichord/plans/plans.yaml" }}{{ end -}}
{{- $drain := include "trichord.drainSettings" (merge (dict "prefix" "TRICHORD_GATEWAY") .) | fromYaml -}}
{{- $http := include "trichord.drainSettings" (merge (dict "prefix" "TRICHORD_HTTP") .) | fromYaml -}}
{{- $tls := include "trichord.tlsSettings" . | fromYaml -}}
{{- if $tls }}{{ $_ := set $tls "TRICHORD_TLS_REQUIRE_CLIENT" (toString $root.Values.tls.requireClients) }}{{ end -}}
{{- $telemetry := include "trichord.telemetrySettings" . | fromYaml -}}
{{- if $telemetry }}{{ $_ := set $telemetry "TRICHORD_TELEMETRY_TRUST_PARENT" (toString $root.Values.telemetry.trustParent) }}{{ end -}}
{{- $jobs := include "trichord.jobs.settings" $root | fromYaml -}}
{{ mergeOverwrite $ours $drain $http $tls $telemetry $jobs .values.settings | toYaml }}
{{- end }}

{{- define "trichord.gateway.volumes" -}}
- name: auth
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "trichord.secret" .root }}
          items: [{key: tenant-secret, path: tenant-secret}]
      {{- if has .root.Values.auth.mode (list "keys" "both") }}
      - secret:
          name: {{ .root.Values.auth.keysSecret }}
          items: [{key: keys.json, path: keys.json}]
      {{- end }}
{{- if .values.plans }}
- name: plans
  configMap:
    name: {{ include "trichord.name" . }}-plans
    defaultMode: 0440
{{- end }}
{{- include "trichord.jobs.volumes" .root }}
{{- include "trichord.jobs.spoolVolume" .root }}
{{- end }}

{{/*
One address for HTTP and for clients behind a balancer; a headless one for gRPC clients that balance by themselves, and
for Prometheus: metrics are at no address that leads outside.
*/}}
{{- define "trichord.gateway.services" }}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trichord.name" . }}
  labels: {{- include "trichord.labels" . | nindent 4 }}
  {{- with .values.service.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .values.service.type }}
  selector: {{- include "trichord.selector" . | nindent 4 }}
  ports:
    - {name: http, port: 80, targetPort: http, appProtocol: http}
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: kubernetes.io/h2c}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "trichord.name" . }}-headless
  labels: {{- include "trichord.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector: {{- include "trichord.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 50051, targetPort: grpc, appProtocol: kubernetes.io/h2c}
    - {name: metrics, port: 9090, targetPort: metrics, appProtocol: http}
{{- with .values.plans }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "trichord.name" $ }}-plans
  labels: {{- include "trichord.labels" $ | nindent 4 }}
data:
  plans.yaml: |
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{- define "trichord.gateway.ingress" -}}
- ports:
    - {port: http, protocol: TCP}
    - {port: grpc, protocol: TCP}
  {{- with .root.Values.networkPolicy.clientsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    {{- include "trichord.peer" (dict "root" $.root "name" "test") | nindent 4 }}
    {{- if $.root.Values.jobs.enabled }}
    {{- include "trichord.peer" (dict "root" $.root "name" "job-worker") | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- define "trichord.gateway.egress" -}}
{{- $root := .root -}}
- to:
    {{- range $modality, $name := include "trichord.modalities" . | fromYaml }}
    {{- include "trichord.peer" (dict "root" $root "name" $name) | nindent 4 }}
    {{- end }}
  ports:
    - {port: grpc, protocol: TCP}
{{ include "trichord.storeEgress" (dict "root" $root "names" (list "cache-store" "state-store")) }}
{{- include "trichord.jobs.egress" $root }}
{{- if .root.Values.networkPolicy.publicHttps }}
# The Internet alone: nothing of the cluster, and no metadata service.
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/4, 240.0.0.0/4]
    - ipBlock:
        cidr: 2000::/3
        except: ["2002::/16"]
  ports:
    - {port: 443, protocol: TCP}
{{- end }}
{{- end }}

{{/* root, names -> a rule: to the chart's own Valkeys, or to the servers that the Secret names. */}}
{{- define "trichord.storeEgress" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if .root.Values.valkey.enabled -}}
- to:
    {{- range .names }}
    {{- include "trichord.peer" (dict "root" $.root "name" .) | nindent 4 }}
    {{- end }}
  ports:
    - {port: 6379, protocol: TCP}
{{- else -}}
- ports:
    {{- range $policy.redisPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with $policy.redisTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
