"""The demand that a gateway would publish of a simulated pool.

The rate of a replica is measured over the work of the last half minute. A decoder's is that of all its slots in use,
in proportion to those that were: tokens a second of a batch that is hardly filled say little of what it could do.
"""

from __future__ import annotations

from collections import deque

from autoscaler.replay.cluster import Modality
from autoscaler.replay.pool import Pool
from trichord.demand import Demand

RATE_WINDOW_S = 30.0
_LEAST_SLOT_S = 0.05
"""Less use than this tells no rate."""


class Signals:
    """Of one pool; remembers what was measured before."""

    def __init__(self, modality: Modality) -> None:
        self._modality: Modality = modality
        self._past: deque[tuple[float, float, float]] = deque([(0.0, 0.0, 0.0)])
        self._rate: float | None = None

    def demand(self, pool: Pool, now_s: float) -> Demand:
        """What is so now; ``pool`` is always the same one."""
        return Demand(
            modality=self._modality,
            queued_cost=max(0.0, pool.queued_cost),
            running_cost=max(0.0, pool.running_cost),
            arrived_cost_per_s=pool.arrivals.rate_per_s(now_s),
            served_cost_per_s_per_replica=self._measured(pool, now_s),
            queue_p95_ms=1e3 * pool.waits.quantile(now_s, 0.95),
            num_held=0 if pool.num_ready else len(pool.queue),
            num_ready_replicas=pool.num_ready,
            at_s=now_s,
        )

    def _measured(self, pool: Pool, now_s: float) -> float | None:
        work, slot_s = pool.usage.work, pool.usage.slot_s
        while len(self._past) > 1 and self._past[0][0] < now_s - RATE_WINDOW_S:
            self._past.popleft()
        _, work_before, slot_s_before = self._past[0]
        if slot_s - slot_s_before > _LEAST_SLOT_S:
            self._rate = (work - work_before) / (slot_s - slot_s_before)
        self._past.append((now_s, work, slot_s))
        return self._rate
