"""What admission did, as numbers for metrics. Bounded: tenants beyond the first few share a label.

Written on the event loop; whoever exports them reads the fields.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

MAX_TENANT_LABELS = 64
"""With some ten series for each in every lane, a thousand: what a metrics page stands easily."""
OTHER_TENANTS = "other"
WAIT_BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)

ShedReason = Literal["queue_full", "tenant_queue_full", "deadline", "expired"]
"""The lane's queue is full; the tenant's is; the wait would outlast the deadline; it did."""


@dataclass
class Waits:
    """A histogram of waits, as Prometheus has them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BOUNDS_S) + 1))
    """Waits up to each of ``WAIT_BOUNDS_S`` and above the one before; the last is of all above."""
    sum_s: float = 0.0

    def add(self, wait_s: float) -> None:
        """Counts one."""
        self.counts[bisect_left(WAIT_BOUNDS_S, wait_s)] += 1
        self.sum_s += wait_s


class Counters:
    """All numbers since the start; ``depth`` is of now."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """By outcome: ``admitted``, the name of the quota that refused, or ``unavailable``."""
        self.fallbacks = 0
        """Requests that the local limiter decided, Redis being away."""
        self.lost_settlements = 0
        """Requests whose estimate stands, Redis being away when they ended."""
        self.shed: Counter[tuple[str, ShedReason]] = Counter()
        """By lane and reason."""
        self.depth: Counter[tuple[str, str]] = Counter()
        """Waiters by lane and tenant."""
        self.waits: dict[tuple[str, str], Waits] = defaultdict(Waits)
        """Of those who got a slot, by lane and tenant."""
        self._labels: dict[str, str] = {}

    def fell_back(self) -> None:
        """Counts one decision of the local limiter."""
        self.fallbacks += 1

    def queued(self, lane: str, tenant: str, change: int) -> None:
        """One waiter more or less."""
        self.depth[lane, self.label(tenant)] += change

    def waited(self, lane: str, tenant: str, wait_s: float) -> None:
        """One got a slot."""
        self.waits[lane, self.label(tenant)].add(wait_s)

    def label(self, tenant: str) -> str:
        """What stands for a tenant in metrics: a digest, or ``other`` from the 65th on."""
        if tenant not in self._labels and len(self._labels) < MAX_TENANT_LABELS:
            self._labels[tenant] = hashlib.sha256(tenant.encode()).hexdigest()[:8]
        return self._labels.get(tenant, OTHER_TENANTS)
