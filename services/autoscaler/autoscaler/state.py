"""What a policy remembers of a modality from one decision to the next. Immutable: a decision carries the next one.

A new state knows nothing, so that a restarted autoscaler takes nothing away before it has watched for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from autoscaler.observation import Observation


@dataclass(frozen=True)
class State:
    """Of one modality; times in seconds of the policy's clock."""

    busy_at_s: float | None = None
    """When there last was work, or no data to tell; None before the first decision."""
    needed: tuple[tuple[float, int], ...] = ()
    """(time, replicas) that were needed, but for those that a later one reached: the first is the largest."""
    stepped_down_at_s: float = float("-inf")
    starting_since_s: float | None = None
    """When the first of those that start began to, or one of them last became ready; None if none starts."""
    num_ready: int = 0

    @property
    def most_needed(self) -> int:
        """In the window."""
        return self.needed[0][1] if self.needed else 0

    def seeing(self, observation: Observation, now_s: float) -> Self:
        """The state that has noticed whether replicas start."""
        since_s = None
        if observation.num_starting:
            progressed = self.starting_since_s is None or observation.num_ready > self.num_ready
            since_s = now_s if progressed else self.starting_since_s
        return replace(self, starting_since_s=since_s, num_ready=observation.num_ready)

    def needing(self, num_replicas: int, is_busy: bool, now_s: float, window_s: float) -> Self:
        """The state that remembers a need for ``window_s`` seconds; at most as many as there are sizes."""
        kept = [(at_s, number) for at_s, number in self.needed if at_s > now_s - window_s and number > num_replicas]
        busy_at_s = now_s if is_busy or self.busy_at_s is None else self.busy_at_s
        return replace(self, busy_at_s=busy_at_s, needed=(*kept, (now_s, num_replicas)))

    def starting_s(self, now_s: float) -> float:
        """Seconds that those that start have taken; 0 if none starts."""
        return 0.0 if self.starting_since_s is None else now_s - self.starting_since_s
