"""What is seen of one modality at one moment: its work, and its replicas. Knows nothing of what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

from trichord.demand import Demand

NEGLIGIBLE_COST_PER_S = 1e-3
"""Less work than this is the tail of an average, and no work."""


NEGLIGIBLE_COST = 1e-6
"""Sums of floats that came and went leave so much behind: not a token, tile or second."""


@dataclass(frozen=True)
class Observation:
    """Of one modality."""

    demand: Demand | None
    """All gateways' together, ``at_s`` on the clock of who decides; None if none of them told of it."""
    num_replicas: int
    """Asked for, ready or not."""
    num_ready: int

    @property
    def num_starting(self) -> int:
        """Asked for and not ready yet."""
        return max(0, self.num_replicas - self.num_ready)

    def is_stale(self, now_s: float, stale_s: float) -> bool:
        """Whether there is no demand younger than ``stale_s``."""
        return self.demand is None or now_s - self.demand.at_s > stale_s


def has_work(demand: Demand) -> bool:
    """Whether anything came lately, waits or runs."""
    is_arriving = demand.arrived_cost_per_s > NEGLIGIBLE_COST_PER_S
    is_there = max(demand.queued_cost, demand.running_cost) > NEGLIGIBLE_COST
    return is_arriving or is_there or demand.num_held > 0
