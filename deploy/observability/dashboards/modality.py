"""One modality from the gateway's queue to the model and back: where does an image's, a sound's, a text's time go."""

from __future__ import annotations

from deploy.observability.dashboards.overview import by_state, quantiles
from deploy.observability.dashboards.panel import Choice, Dashboard, Panel, Query, Row
from deploy.observability.dashboards.promql import largest, mean, quantile, rate, ratio, total

MODALITY = Choice(
    "modality",
    "Modality",
    (
        ("Vision", "image|vision|vision-encoder|siglip"),
        ("Audio", "audio|audio-encoder|whisper"),
        ("Text", "text|decoder|llm-decoder|llama"),
    ),
)
"""One variable for all labels that a modality goes by: of requests, of scaling, of its service and of its model."""

OF_MODALITY = 'modality=~"$modality"'
OF_SERVICE = 'service=~"$modality"'
OF_MODEL = 'model=~"$modality"'
OF_JOB = 'job=~"$modality"'

GATEWAY = Row(
    "In the gateway",
    (
        Panel(
            "Queue delay",
            "s",
            "How long work waits before a replica takes it. Growing: more comes than replicas do; see Scaling for "
            "what stops them.",
            quantiles("trichord_queue_delay_seconds", OF_MODALITY),
            steps=((2, "red"),),
        ),
        Panel(
            "Encode time by source",
            "s",
            "An item (95th percentile): encoded by a replica, found in the store, or waited for while another request "
            "encodes it. store over 10 ms: Redis. Empty for text.",
            (Query(quantile(0.95, "trichord_encode_duration_seconds", "source", OF_MODALITY), "{{source}}"),),
        ),
        Panel(
            "Items by source",
            "ops",
            "Only encoded ones cost a pass of the model. Suddenly all encoded: the cache Redis was emptied, is full "
            "or away. Empty for text.",
            (Query(rate("trichord_encode_duration_seconds_count", "source", OF_MODALITY), "{{source}}"),),
            is_stacked=True,
        ),
        Panel(
            "Store hits",
            "percentunit",
            "Share of look-ups of embeddings, of all modalities, that needed no encoding. Falling: more new media, "
            "or evictions in the cache Redis.",
            (
                Query(
                    ratio(
                        rate("trichord_store_lookups_total", labels='result=~"hit|flight"'),
                        rate("trichord_store_lookups_total"),
                    ),
                    "hit",
                ),
            ),
            most=1,
        ),
        Panel(
            "Sheds and items left out",
            "ops",
            "What was turned away at this modality, and what answers were given without. Not nothing: it is full, or "
            "away.",
            (
                Query(f"{rate('trichord_sheds_total', 'reason', OF_MODALITY)} > 0", "shed: {{reason}}"),
                Query(rate("trichord_skipped_items_total", "reason", OF_MODALITY), "left out: {{reason}}"),
            ),
        ),
        Panel(
            "Fetches of URLs",
            "s",
            "Media that gateways fetch (95th percentile), of all modalities, by outcome. Slow: somebody else's "
            "server; callers may upload instead.",
            (Query(quantile(0.95, "trichord_fetch_duration_seconds", "outcome"), "{{outcome}}"),),
        ),
    ),
)

FRONT = Row(
    "In the front",
    (
        Panel(
            "Decode and model",
            "s",
            "The 95th percentile of what the front does for an item: waiting for a decoder of files, decoding, the "
            "model. The largest one is what to add: CPU for the front, or replicas for the model.",
            (
                Query(quantile(0.95, "trichord_media_decode_queue_seconds", labels=OF_MODALITY), "waits to be decoded"),
                Query(quantile(0.95, "trichord_media_decode_seconds", labels=OF_MODALITY), "decoding"),
                Query(quantile(0.95, "trichord_model_seconds", labels=OF_MODALITY), "model"),
            ),
        ),
        Panel(
            "Units encoded",
            "units/s",
            "Tiles of images, windows of 30 s of sounds, by replica. One that does less than its peers is slow: look "
            "at it. Empty for text.",
            (Query(rate("trichord_encoded_units_total", "instance", OF_MODALITY), "{{instance}}"),),
            is_stacked=True,
        ),
        Panel(
            "Media refused",
            "ops",
            "By kind of error. Rising: a client sends another format or size, or somebody tries what breaks decoders.",
            (Query(rate("trichord_media_refused_total", "error_type", OF_MODALITY), "{{error_type}}"),),
        ),
        Panel(
            "Calls by status",
            "reqps",
            "Of the front, as it sees them. UNAVAILABLE: its Triton. RESOURCE_EXHAUSTED: it is full. "
            "DEADLINE_EXCEEDED: it is slow.",
            (
                Query(
                    rate("rpc_server_call_duration_seconds_count", "rpc_response_status_code", OF_JOB),
                    "{{rpc_response_status_code}}",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Call duration",
            "s",
            "Of the front's calls; the gateway's encode time less this is the network. Dots are traces.",
            quantiles("rpc_server_call_duration_seconds", OF_JOB, exemplars=True),
        ),
        Panel(
            "Sound encoded",
            "audio s/s",
            "Seconds of sound in a second. A replica that does less than its peers is slow: look at it. Only of audio.",
            (Query(rate("trichord_encoded_audio_seconds_total", "instance", OF_JOB), "{{instance}}"),),
        ),
    ),
)

TRITON = Row(
    "In Triton",
    (
        Panel(
            "Batch size",
            "short",
            "Requests that one pass computes. 1 under load: requests come one by one; a longer max_queue_delay would "
            "gather them. Of text always 1: the engine batches.",
            (
                Query(
                    ratio(
                        rate("nv_inference_count", "model", OF_MODEL),
                        rate("nv_inference_exec_count", "model", OF_MODEL),
                    ),
                    "{{model}}",
                ),
            ),
        ),
        Panel(
            "Queue and compute",
            "µs",
            "Means of a request. queue larger than compute: more replicas. compute grows with the same batch: the "
            "device is shared, hot or throttled.",
            tuple(
                Query(
                    ratio(
                        rate(f"nv_inference_{part}_duration_us", labels=OF_MODEL),
                        rate("nv_inference_request_success", labels=OF_MODEL),
                    ),
                    part,
                )
                for part in ("queue", "compute_infer")
            ),
            is_stacked=True,
        ),
        Panel(
            "Requests waiting",
            "short",
            "In Triton's queue, by replica. Unequal: routing sees other costs than there are.",
            (Query(largest("nv_inference_pending_request_count", "instance", OF_MODEL), "{{instance}}"),),
        ),
        Panel(
            "Failures",
            "ops",
            "By Triton's reason. BACKEND: the model's own error, in Triton's log. REJECTED: it waited too long. A "
            "full queue is counted nowhere here.",
            (Query(rate("nv_inference_request_failure", "reason", OF_MODEL), "{{reason}}"),),
        ),
        Panel(
            "Device in use",
            "percentunit",
            "Of GPUs that this modality's Tritons see, by replica; empty on CPUs. High says little of an engine: it "
            "is busy with one sequence, too.",
            (Query(largest("nv_gpu_utilization", "instance", OF_JOB), "{{instance}}"),),
            most=1,
        ),
        Panel(
            "Device memory",
            "bytes",
            "In use on GPUs of this modality; empty on CPUs. Rising in steps: another process is on it.",
            (Query(largest("nv_gpu_memory_used_bytes", "instance", OF_JOB), "{{instance}}"),),
        ),
    ),
)

REPLICAS = Row(
    "Replicas",
    (
        Panel(
            "By state",
            "short",
            "The most that any gateway sees. ejected: fails or is far slower than its peers. unhealthy: says itself "
            "that it cannot serve.",
            by_state("state", labels=OF_SERVICE),
        ),
        Panel(
            "Attempts by outcome",
            "ops",
            "Calls to replicas, and how they ended. One kind of error from one replica: look at it; from all: what "
            "was deployed.",
            (Query(rate("trichord_replica_attempts_total", "outcome", OF_SERVICE), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Retries and ejections",
            "ops",
            "budget_spent: failures are so many that trying again would add to the load; find their cause, not a "
            "larger budget.",
            (
                Query(rate("trichord_retries_total", "outcome", OF_SERVICE), "{{outcome}}"),
                Query(rate("trichord_ejections_total", labels=OF_SERVICE), "ejections"),
            ),
        ),
        Panel(
            "Waiting for it to wake",
            "s",
            "What requests wait while no replica is there (mean and 90th percentile). Long: images that are pulled, "
            "weights that load; or keep one (min_replicas 1).",
            (
                Query(mean("trichord_wake_wait_seconds", labels=OF_MODALITY), "mean"),
                Query(quantile(0.9, "trichord_wake_wait_seconds", labels=OF_MODALITY), "p90"),
            ),
        ),
        Panel(
            "Wanted and ready",
            "short",
            "Wanted over ready for long: pods do not start. Equal while work waits: the maximum, or the GPU budget.",
            (
                Query(largest("trichord_autoscaler_desired_replicas", labels=OF_MODALITY), "wanted"),
                Query(largest("trichord_autoscaler_replicas", labels=OF_MODALITY), "ready"),
            ),
        ),
        Panel(
            "Calls in progress",
            "short",
            "Of each replica. Unequal for long: one is slow, or connections lead to some only.",
            (Query(total("trichord_rpc_calls_in_progress", "instance", OF_JOB), "{{instance}}"),),
        ),
    ),
)

DASHBOARD = Dashboard(
    "trichord-modality",
    "Trichord / Modality",
    "Where an image's, a sound's, a text's time goes, from the gateway's queue to the model.",
    (GATEWAY, FRONT, TRITON, REPLICAS),
    (MODALITY,),
)
