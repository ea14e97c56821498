"""The autoscaler: what it sees, what it wants, and what comes of it."""

from __future__ import annotations

from deploy.observability.dashboards.panel import Dashboard, Panel, Query, Row
from deploy.observability.dashboards.promql import largest, quantile, rate, series

QUEUED, RATE, REPLICAS = (series(f"trichord_autoscaler_{name}") for name in ("queued_cost", "service_rate", "replicas"))

DECISIONS = Row(
    "Replicas",
    (
        Panel(
            "Wanted",
            "short",
            "What the policy asks for, by modality. At max_replicas while work waits: raise it, if there are devices.",
            (Query(largest("trichord_autoscaler_desired_replicas", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Ready",
            "short",
            "What there is. Below wanted for longer than a start takes: pods that do not start, or no node for them.",
            (Query(largest("trichord_autoscaler_replicas", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Decisions",
            "ops",
            "By direction. up and down in turns: down_window_s is short for this load. None at all: the autoscaler "
            "hangs, or does not lead.",
            (Query(rate("trichord_autoscaler_decisions_total", "modality, direction"), "{{modality}} {{direction}}"),),
            is_stacked=True,
        ),
    ),
)

SIGNALS = Row(
    "What it decides by",
    (
        Panel(
            "Work that waits",
            "s",
            "Seconds that the ready replicas need for what is queued. Over ten while wanted stands: the maximum, or "
            "the GPU budget. Of jobs (worker), hours may be right.",
            (Query(f"max by (modality) ({QUEUED} / ({RATE} * clamp_min({REPLICAS}, 1)))", "{{modality}}"),),
            steps=((10, "red"),),
        ),
        Panel(
            "Queued cost",
            "short",
            "In the modality's unit: tiles and seconds of sound (as gateways guess them from the sizes of files), "
            "tokens, requests, items of jobs. Nothing while gateways queue: their reports do not reach Redis.",
            (Query(largest("trichord_autoscaler_queued_cost", "modality"), "{{modality}}"),),
        ),
        Panel(
            "What a replica does",
            "short",
            "Of these units a second, as measured. Falling: replicas are slower than they were (devices, neighbours, "
            "another mix), and more are asked for.",
            (Query(largest("trichord_autoscaler_service_rate", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Queue delay",
            "s",
            "The 95th percentile in gateways, which slo_queue_p95_ms is about. Over it for long: see Wanted.",
            (Query(quantile(0.95, "trichord_queue_delay_seconds", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Waiting for a modality to wake",
            "s",
            "The 90th percentile. Longer than startup_s says: the rules are wrong about it, or images are pulled anew.",
            (Query(quantile(0.9, "trichord_wake_wait_seconds", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Who leads",
            "short",
            "1 of the autoscaler that acts. None: its Lease cannot be renewed (RBAC, the API server). Two: two "
            "releases on the same Deployments.",
            (Query(largest("trichord_autoscaler_is_leading", "instance"), "{{instance}}"),),
            most=1,
        ),
    ),
)

DASHBOARD = Dashboard(
    "trichord-scaling",
    "Trichord / Scaling",
    "What the autoscaler sees, what it wants, and what comes of it. `trichord scaling explain` says why, in sentences.",
    (DECISIONS, SIGNALS),
)
