"""What workers are scaled by: how much of jobs is left to do, how old the oldest is, and how many workers there are.

Pure. Knows nothing of how the queue is measured, and not what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.jobs.lag import INTERVAL_S, Measured
from gateway.metrics.jobs import Kept, oldest_pending_s
from trichord.demand import Demand

STALE = timedelta(seconds=3 * INTERVAL_S)
"""A queue that was not seen for longer is away."""


def demand(measured: Measured | None, kept: Sequence[Kept], now: datetime) -> Demand | None:
    """Of workers. ``kept`` are the open jobs, none on a gateway whose turn it is not: another tells of them then.

    What is left is what the queue has, or what jobs have, of which only so much is queued at once: whichever is more.
    None while the queue is away: workers could do nothing, and nobody shall take that for having nothing to do.
    """
    if measured is None or now - measured.at > STALE:
        return None
    return Demand(
        modality="worker",
        queued_cost=max(measured.num_messages, sum(job.num_pending for job in kept)),
        queue_p95_ms=oldest_pending_s(kept, now) * 1e3,
        num_ready_replicas=measured.num_workers,
    )
