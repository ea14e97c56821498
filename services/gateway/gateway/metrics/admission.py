"""What admission does: how long work waits for its turn, and what is turned away."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Literal, get_args

from prometheus_client import Counter, Histogram

QUEUE_DELAY = Histogram(
    "trichord_queue_delay_seconds",
    "Seconds that work waited in the gateway for its turn at a decoder (text) or an encoder (image, audio).",
    ["modality"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30),
)
SHEDS = Counter(
    "trichord_sheds",
    "Work turned away: by a lane's queue (queue_full, tenant_queue_full, deadline, expired), by a full waiting room "
    "before a sleeping encoder (room_full), by a tenant's budget (quota_*), or because budgets could not be looked at "
    "(budgets_away).",
    ["reason", "modality"],
)
FALLBACKS = Counter(
    "trichord_admission_fallbacks", "Requests whose budgets this gateway decided alone, the shared store being away."
)
LOST_SETTLEMENTS = Counter(
    "trichord_admission_lost_settlements",
    "Requests whose estimated cost stands, the shared store being away when they ended.",
)

QueueReason = Literal["queue_full", "tenant_queue_full", "deadline", "expired"]
"""The lane's queue is full; the tenant's is; the wait would outlast the deadline; it did."""

_OF_BUDGETS: Mapping[str, str] = {"tokens": "text", "tiles": "image", "audio_seconds": "audio"}
"""The modality that a budget is of; requests and concurrency are of all."""

for _reason, _lane in (
    *product(get_args(QueueReason), ("text", "image", "audio")),
    *product(["room_full"], ("image", "audio")),
):
    SHEDS.labels(_reason, _lane)  # there from the start: what appears with a burst has not risen, for Prometheus


def over_budget(quota: str) -> None:
    """Counts a request that a tenant's budget (``cost.QUOTAS``) did not allow."""
    SHEDS.labels(f"quota_{quota}", _OF_BUDGETS.get(quota, "all")).inc()


def budgets_away() -> None:
    """Counts a request refused because its tenant's budgets could not be looked at."""
    SHEDS.labels("budgets_away", "all").inc()
