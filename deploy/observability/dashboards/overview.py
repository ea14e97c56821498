"""The first look: are promises kept, what is being done, and which part is full."""

from __future__ import annotations

from deploy.observability.dashboards.panel import Dashboard, Panel, Query, Row
from deploy.observability.dashboards.promql import largest, quantile, rate, ratio, series, short_methods, total

QUANTILES = (0.5, 0.95, 0.99)
LEFT = ((0.0, "orange"), (0.5, "green"))
"""Of a budget."""


def quantiles(histogram: str, labels: str = "", *, exemplars: bool = False) -> tuple[Query, ...]:
    """The median and two tails; exemplars are drawn once."""
    return tuple(
        Query(quantile(share, histogram, labels=labels), f"p{share * 100:.0f}", exemplars and share == QUANTILES[-1])
        for share in QUANTILES
    )


def by_state(by: str, legend: str = "", labels: str = "") -> tuple[Query, ...]:
    """Replicas as gateways see them: the usable ones also where there is none, others only where there are some."""
    others, usable = (",".join(filter(None, (f'state{is_so}"usable"', labels))) for is_so in ("!=", "="))
    return (
        Query(largest("trichord_replicas", by, usable), f"{legend}{{{{state}}}}"),
        Query(f"{largest('trichord_replicas', by, others)} > 0", f"{legend}{{{{state}}}}"),
    )


PROMISES = Row(
    "Promises",
    (
        Panel(
            "Error budget left",
            "percentunit",
            "Share of 30 days' failures that may still happen (objective 99.5 %). Below a half: put off what is risky. "
            "At nothing: stop rollouts, and look for the outcome below that spends it.",
            (Query(f"min({series('namespace:trichord_availability_budget:left30d')})"),),
            kind="stat",
            width=4,
            most=1,
            steps=LEFT,
            lowest="red",
        ),
        Panel(
            "First-token budget left",
            "percentunit",
            "The same of first tokens that came after 2.5 s (objective 95 % within). Going down: see TTFT, then which "
            "modality queues.",
            (Query(f"min({series('namespace:trichord_first_token_budget:left30d')})"),),
            kind="stat",
            width=4,
            most=1,
            steps=LEFT,
            lowest="red",
        ),
        Panel(
            "Requests answered",
            "reqps",
            "Requests that ended, a second. Suddenly none: clients cannot reach the gateway, or names and certificates "
            "are wrong; try `trichord chat` from outside.",
            (Query(rate("trichord_requests_total")),),
            kind="stat",
            width=4,
        ),
        Panel(
            "In progress",
            "short",
            "Requests that are being answered. Growing while the rate stands: answers become slow; see Saturation.",
            (Query(total("trichord_requests_in_progress")),),
            kind="stat",
            width=4,
        ),
        Panel(
            "Firing alerts",
            "short",
            "Each has its heading in docs/operations.md, which its runbook_url leads to. Causes come before promises.",
            (Query('ALERTS{alertname=~"Trichord.*",alertstate="firing",namespace=~"$namespace"}'),),
            kind="table",
            width=8,
        ),
    ),
)

REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests by outcome",
            "reqps",
            "failed: look at error_type in logs. expired: see TTFT and queues. shed: see Sheds. refused: callers' own "
            "errors, a client's new release perhaps. cancelled: callers who gave up, often because it was slow.",
            (Query(rate("trichord_requests_total", "outcome"), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Time to first token",
            "s",
            "From arrival to the first token; dots are traces: click one. Media late: see Encode time; text too: see "
            "the engine's queue.",
            quantiles("gen_ai_server_time_to_first_token_seconds", exemplars=True),
            steps=((2.5, "red"),),
        ),
        Panel(
            "First token by kind of request",
            "s",
            "The 95th percentile by which media a request has. Only one is late: its encoder. All are: the decoder.",
            (Query(quantile(0.95, "gen_ai_server_time_to_first_token_seconds", "modalities"), "{{modalities}}"),),
        ),
        Panel(
            "Time per output token",
            "s",
            "Of an answer, after its first token. Growing with the engine's batch size: more decoders. Growing alone: "
            "a decoder's device or neighbours.",
            quantiles("gen_ai_server_time_per_output_token_seconds", exemplars=True),
        ),
        Panel(
            "Duration",
            "s",
            "Of whole answers. It follows their lengths: look at the time per token before this.",
            quantiles("gen_ai_server_request_duration_seconds", exemplars=True),
        ),
        Panel(
            "HTTP answers",
            "reqps",
            "By route and status. 5xx: as failed requests. 401 and 403 rising: an expired key, or somebody who tries "
            "keys.",
            (
                Query(
                    rate("http_server_request_duration_seconds_count", "http_route, http_response_status_code"),
                    "{{http_route}} {{http_response_status_code}}",
                ),
            ),
        ),
    ),
)

WORK = Row(
    "Work",
    (
        Panel(
            "Tokens",
            "tokens/s",
            "By direction and modality: what the cluster is for. Output falls while requests stay: decoders are "
            "slower, or answers shorter.",
            (Query(rate("trichord_tokens_total", "direction, modality"), "{{direction}} {{modality}}"),),
            is_stacked=True,
        ),
        Panel(
            "Image tiles",
            "tiles/s",
            "encoded costs a pass of the vision encoder; store and flight cost none. Fewer store hits: the cache "
            "Redis evicts, or is away.",
            (Query(rate("trichord_image_tiles_total", "source"), "{{source}}"),),
            is_stacked=True,
        ),
        Panel(
            "Sound",
            "audio s/s",
            "Seconds of sound in a second, by how their embeddings were come by; as with tiles.",
            (Query(rate("trichord_audio_seconds_total", "source"), "{{source}}"),),
            is_stacked=True,
        ),
        Panel(
            "Sheds by reason",
            "reqps",
            "queue_full, room_full: too few replicas. tenant_queue_full, quota_*: one tenant sends more than its part. "
            "deadline, expired: waits outlast deadlines. Empty: none. See the modality's dashboard, and "
            "`trichord scaling explain`.",
            (Query(f"{rate('trichord_sheds_total', 'reason, modality')} > 0", "{{reason}} {{modality}}"),),
            is_stacked=True,
        ),
        Panel(
            "Items left out",
            "ops",
            "Media that answers were given without, as their callers allow. Not nothing: the encoder of that modality.",
            (Query(rate("trichord_skipped_items_total", "modality, reason"), "{{modality}} {{reason}}"),),
        ),
        Panel(
            "Prefix cache",
            "percentunit",
            "Share of input tokens that decoders had computed before. Falling: other prompts, or routing that no "
            "longer finds the prefix's decoder.",
            (
                Query(
                    ratio(
                        rate("trichord_cached_tokens_total"), rate("trichord_tokens_total", labels='direction="input"')
                    ),
                    "cached",
                ),
            ),
            most=1,
        ),
    ),
)

SATURATION = Row(
    "Saturation: which part is full",
    (
        Panel(
            "Queue delay",
            "s",
            "How long work waits in the gateway before a replica takes it (95th percentile). Over two seconds: that "
            "modality needs replicas.",
            (Query(quantile(0.95, "trichord_queue_delay_seconds", "modality"), "{{modality}}"),),
            steps=((2, "red"),),
        ),
        Panel(
            "Encode time",
            "s",
            "An item as the gateway sees it (95th percentile), by modality and source. Only encoded grows: the "
            "encoder. All grow: the gateway or Redis.",
            (Query(quantile(0.95, "trichord_encode_duration_seconds", "modality, source"), "{{modality}} {{source}}"),),
        ),
        Panel(
            "KV cache in use",
            "percentunit",
            "Of each decoder. All near 1: answers wait and are preempted; more decoders or a larger cache.",
            (Query(largest("trichord_engine_kv_use", "instance"), "{{instance}}"),),
            most=1,
            steps=((0.95, "red"),),
        ),
        Panel(
            "Replicas wanted and ready",
            "short",
            "Wanted over ready for long: pods do not start (kubectl get pods), or no node has the device.",
            (
                Query(largest("trichord_autoscaler_desired_replicas", "modality"), "{{modality}} wanted"),
                Query(largest("trichord_autoscaler_replicas", "modality"), "{{modality}} ready"),
            ),
        ),
        Panel(
            "Replicas as gateways see them",
            "short",
            "The most of any gateway. ejected or unhealthy: see the modality's dashboard for what its calls end with.",
            by_state("service, state", "{{service}} "),
        ),
        Panel(
            "Redis",
            "s",
            "How long commands take (99th percentile). Near 50 ms they are given up: look at its CPU, memory and "
            "slow log.",
            (Query(quantile(0.99, "trichord_redis_command_duration_seconds", "store"), "{{store}}"),),
            steps=((0.05, "red"),),
        ),
    ),
)

PROCESSES = Row(
    "Processes",
    (
        Panel(
            "Event loop lag",
            "s",
            "How late timers fire (99th percentile). Over 0.25 s every request of that pod waits: CPU limits, or "
            "neighbours on its cores.",
            (Query(quantile(0.99, "trichord_event_loop_lag_seconds", "job, instance"), "{{job}} {{instance}}"),),
            steps=((0.25, "red"),),
        ),
        Panel(
            "CPU",
            "cores",
            "Of our processes, without Triton's. A gateway at one core is at its end: more gateways.",
            (Query(rate("process_cpu_seconds_total", "job, instance"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident, without Triton's. Rising without an end: note what was deployed before, restart the pod, "
            "report it.",
            (Query(largest("process_resident_memory_bytes", "job, instance"), "{{job}} {{instance}}"),),
        ),
        Panel(
            "Spans not delivered",
            "ops",
            "lost: the collector did not take them. dropped: the queue was full. Requests do not notice; traces have "
            "holes.",
            (
                Query(
                    rate("trichord_telemetry_spans_total", "job, outcome", 'outcome!="exported"'), "{{job}} {{outcome}}"
                ),
            ),
        ),
        Panel(
            "Calls in progress",
            "short",
            "Of gRPC, by method. At max_concurrent_rpcs (256) a process refuses more.",
            (Query(short_methods(total("trichord_rpc_calls_in_progress", "rpc_method")), "{{rpc_method}}"),),
        ),
        Panel(
            "Calls that fail",
            "reqps",
            "Of gRPC, by method and status, on the side of the server. The hop nearest to the fault is the one "
            "without failing calls behind it.",
            (
                Query(
                    short_methods(
                        rate(
                            "rpc_server_call_duration_seconds_count",
                            "rpc_method, rpc_response_status_code",
                            'rpc_response_status_code!~"OK|CANCELLED"',
                        )
                    ),
                    "{{rpc_method}} {{rpc_response_status_code}}",
                ),
            ),
        ),
    ),
)

DASHBOARD = Dashboard(
    "trichord-overview",
    "Trichord / Overview",
    "Are promises kept, what is being done, which part is full. Start here.",
    (PROMISES, REQUESTS, WORK, SATURATION, PROCESSES),
)
