{{/* root -> the alerts, each with its own paragraph in the runbook. */}}
{{- define "trichord.alerts" -}}
{{- $jobs := include "trichord.modalities" . | fromYaml | values | sortAlpha | join "|" -}}
{{- $where := printf `namespace="%s",job=~"%s"` .Release.Namespace $jobs -}}
{{- $runbook := .Values.monitoring.prometheusRule.runbookUrl -}}
- alert: TrichordTritonDown
  expr: up{ {{- $where -}} } == 0
  for: 5m
  labels: {severity: critical}
  annotations:
    summary: A Triton of {{ `{{ $labels.job }}` }} has not answered for five minutes.
    runbook_url: {{ $runbook }}#a-triton-is-down
- alert: TrichordInferenceFailing
  expr: |-
    sum by (job, model) (rate(nv_inference_request_failure{ {{- $where -}} }[5m]))
      / (sum by (job, model) (rate(nv_inference_request_failure{ {{- $where -}} }[5m]))
        + sum by (job, model) (rate(nv_inference_request_success{ {{- $where -}} }[5m]))) > 0.05
  for: 5m
  labels: {severity: warning}
  annotations:
    summary: More than 5 % of the requests of {{ `{{ $labels.model }}` }} fail.
    runbook_url: {{ $runbook }}#inference-fails
- alert: TrichordQueueLong
  expr: |-
    sum by (job, model) (rate(nv_inference_queue_duration_us{ {{- $where -}} }[5m]))
      / sum by (job, model) (rate(nv_inference_request_success{ {{- $where -}} }[5m])) > 1e6
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: Requests of {{ `{{ $labels.model }}` }} wait for more than a second on average.
    runbook_url: {{ $runbook }}#requests-wait
- alert: TrichordKvCacheFull
  expr: min by (job) (trichord_engine_kv_use{ {{- $where -}} }) > 0.95
  for: 10m
  labels: {severity: warning}
  annotations:
    summary: Every decoder's cache of keys and values has been full for ten minutes.
    runbook_url: {{ $runbook }}#the-cache-is-full
{{- end }}
