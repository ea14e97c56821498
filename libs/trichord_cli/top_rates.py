"""What a cluster does right now, by modality, out of its metrics. Pure: pages go in, figures come out.

Rates are means over the time between two looks; a figure is None where nothing happened that it could be of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from trichord_cli.metrics_page import Change

OUTCOMES = ("ok", "refused", "shed", "failed", "cancelled", "expired")
MODALITIES = ("text", "image", "audio")
_REQUESTS, _TTFT = "trichord_requests_total", "gen_ai_server_time_to_first_token_seconds"
_UNITS = {"image": "trichord_image_tiles_total", "audio": "trichord_audio_seconds_total"}


class Requests(NamedTuple):
    """Chats that bring the same kinds of parts."""

    modalities: str
    per_s: dict[str, float]
    """By outcome."""
    ttft_p50_s: float | None
    ttft_p95_s: float | None


class Work(NamedTuple):
    """What one modality asks of the cluster."""

    modality: str
    input_tokens_per_s: float
    output_tokens_per_s: float
    units_per_s: float | None
    """Tiles, or seconds of sound, whose embeddings were come by; None for text."""
    reused: float | None
    """Share of them that nobody had to encode."""
    queue_p50_s: float | None
    queue_p95_s: float | None
    waiting: float
    sheds_per_s: float


class Engine(NamedTuple):
    """What decodes."""

    running: float
    waiting: float
    kv_use: float | None
    """Of the fullest engine, 0 to 1."""
    batch_size: float | None
    prefix_reused: float | None
    """Share of the prompts' tokens that were found in the prefix cache."""


class Replicas(NamedTuple):
    """Of one service, as gateways see them."""

    service: str
    usable: float
    all: float


class Jobs(NamedTuple):
    """What is done when there is room."""

    left: float
    """Items without a result."""
    oldest_s: float
    """Since the oldest job that has some was taken."""
    workers: float
    running: float
    """Items that they have the gateway work on."""
    completed_per_s: float
    failed_per_s: float


class Rates(NamedTuple):
    """All of it."""

    seconds: float
    requests: list[Requests]
    work: list[Work]
    engine: Engine
    replicas: list[Replicas]
    jobs: Jobs | None
    """None where there is neither one with items left nor a worker."""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        lists = {name: [row._asdict() for row in getattr(self, name)] for name in ("requests", "work", "replicas")}
        jobs = self.jobs._asdict() if self.jobs else None
        return {"seconds": self.seconds, **lists, "engine": self.engine._asdict(), "jobs": jobs}


def rates(change: Change) -> Rates:
    """What happened meanwhile, and what is there now."""
    kinds = change.values(_REQUESTS, "modalities")
    services = change.values("trichord_replicas", "service")
    return Rates(
        change.seconds,
        [_requests(change, kind) for kind in kinds],
        [_work(change, modality) for modality in MODALITIES],
        _engine(change),
        [_replicas(change, service) for service in services],
        _jobs(change),
    )


def _requests(change: Change, modalities: str) -> Requests:
    per_s = {outcome: change.rate(_REQUESTS, modalities=modalities, outcome=outcome) for outcome in OUTCOMES}
    p50_s, p95_s = (change.quantile(_TTFT, share, modalities=modalities) for share in (0.5, 0.95))
    return Requests(modalities, per_s, p50_s, p95_s)


def _work(change: Change, modality: str) -> Work:
    units = _UNITS.get(modality)
    come_by = change.rate(units) if units else None
    encoded = change.rate(units, source="encoded") if units else 0.0
    p50_s, p95_s = (change.quantile("trichord_queue_delay_seconds", share, modality=modality) for share in (0.5, 0.95))
    return Work(
        modality,
        input_tokens_per_s=change.rate("trichord_tokens_total", direction="input", modality=modality),
        output_tokens_per_s=change.rate("trichord_tokens_total", direction="output", modality=modality),
        units_per_s=come_by,
        reused=1 - encoded / come_by if come_by else None,
        queue_p50_s=p50_s,
        queue_p95_s=p95_s,
        waiting=sum(change.now("trichord_queue_length", modality=modality)),
        sheds_per_s=change.rate("trichord_sheds_total", modality=modality),
    )


def _engine(change: Change) -> Engine:
    kv_use, batches = change.now("trichord_engine_kv_use"), change.now("trichord_engine_batch_size")
    prompt = change.rate("trichord_tokens_total", direction="input")
    cached = change.rate("trichord_cached_tokens_total")
    return Engine(
        running=sum(change.now("trichord_engine_num_running")),
        waiting=sum(change.now("trichord_engine_num_waiting")),
        kv_use=max(kv_use, default=None),
        batch_size=sum(batches) if batches else None,
        prefix_reused=min(1.0, cached / prompt) if prompt else None,
    )


def _replicas(change: Change, service: str) -> Replicas:
    every = change.now("trichord_replicas", service=service)
    usable = change.now("trichord_replicas", service=service, state="usable")
    return Replicas(service, sum(usable), sum(every))


def _jobs(change: Change) -> Jobs | None:
    left, running = change.now("trichord_jobs_pending_items"), change.now("trichord_jobs_items_running")
    if not (any(left) or running):
        return None
    return Jobs(
        left=sum(left),
        oldest_s=max(change.now("trichord_jobs_oldest_pending_seconds"), default=0.0),
        workers=max(change.now("trichord_jobs_workers"), default=0.0),
        running=sum(running),
        completed_per_s=change.rate("trichord_jobs_items_ended_total", state="completed"),
        failed_per_s=change.rate("trichord_jobs_items_ended_total", state="failed"),
    )
