"""What the autoscaler tells of its decisions, as numbers; the sentences are in explain.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge

from autoscaler.decisions import Record

DESIRED = Gauge("trichord_autoscaler_desired_replicas", "Replicas that there shall be.", ["modality"])
READY = Gauge("trichord_autoscaler_replicas", "Replicas that are ready.", ["modality"])
QUEUED_COST = Gauge(
    "trichord_autoscaler_queued_cost",
    "Work that waits: tiles (vision), seconds of sound (audio), tokens (decoder), requests (gateway), items of jobs "
    "(worker); NaN if unknown.",
    ["modality"],
)
SERVICE_RATE = Gauge(
    "trichord_autoscaler_service_rate",
    "Work a second, in the unit of the queued cost, that one replica is reckoned to do; NaN if there is no data.",
    ["modality"],
)
DECISIONS = Counter(
    "trichord_autoscaler_decisions",
    "Decisions to have more replicas (up), fewer (down) or as many as there are (hold).",
    ["modality", "direction"],
)
IS_LEADING = Gauge(
    "trichord_autoscaler_is_leading", "Whether this process acts on its decisions (1) or stands by for another (0)."
)


def decided(records: Iterable[Record]) -> None:
    """Tells one round of decisions."""
    for record in records:
        modality, inputs = record.modality, record.decision.inputs
        DESIRED.labels(modality).set(record.decision.replicas)
        READY.labels(modality).set(record.seen.ready)
        QUEUED_COST.labels(modality).set(_known(inputs.get("queued_cost")))
        SERVICE_RATE.labels(modality).set(_known(inputs.get("rate")))
        DECISIONS.labels(modality, _direction(record)).inc()


def leads_while(is_leading: Callable[[], bool]) -> None:
    """Asks ``is_leading`` whenever the page is looked at."""
    IS_LEADING.set_function(is_leading)


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _direction(record: Record) -> str:
    change = record.decision.replicas - record.seen.desired
    return "up" if change > 0 else "down" if change < 0 else "hold"
