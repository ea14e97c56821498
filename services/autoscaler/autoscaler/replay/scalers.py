"""Who decides on replicas in a replay: sizes that never change, Kubernetes' HPA, and the autoscaler's own policy.

Each sees what it would see in a cluster, at its own period. The policy is ``autoscaler.policy``, not a copy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from autoscaler.observation import Observation
from autoscaler.policy import Policy
from autoscaler.replay.cluster import MODALITIES, Modality
from autoscaler.replay.pool import Pool
from autoscaler.replay.signals import Signals
from autoscaler.rules import Rules
from autoscaler.state import State


class Scaler(Protocol):
    """Decides on replicas."""

    period_s: float
    """Between two decisions."""

    def decide(self, modality: Modality, pool: Pool, now_s: float) -> int:
        """Replicas that ``pool`` shall have."""


class Static:
    """As many as at the beginning, for ever."""

    period_s = math.inf

    def decide(self, modality: Modality, pool: Pool, now_s: float) -> int:
        """No change."""
        return len(pool.replicas)


class TrichordScaler:
    """The autoscaler's policy on the demand that a gateway would publish."""

    period_s = 5.0

    def __init__(self, rules: Mapping[Modality, Rules]) -> None:
        self._policies = {modality: Policy(rules[modality]) for modality in MODALITIES}
        self._states = {modality: State() for modality in MODALITIES}
        self._signals = {modality: Signals(modality) for modality in MODALITIES}

    def decide(self, modality: Modality, pool: Pool, now_s: float) -> int:
        """See ``Policy.decide``."""
        demand = self._signals[modality].demand(pool, now_s)
        observation = Observation(demand, len(pool.replicas), pool.num_ready)
        decision = self._policies[modality].decide(observation, self._states[modality], now_s)
        self._states[modality] = decision.state
        return decision.replicas


class _Metric:
    """Mean use of the ready replicas since the last look, as a metrics server would tell."""

    def __init__(self, by_slots: bool) -> None:
        self._by_slots, self._seen, self._seen_s = by_slots, 0.0, 0.0

    def read(self, pool: Pool, now_s: float) -> float:
        total = pool.usage.slot_s if self._by_slots else pool.usage.busy_s
        used_s, elapsed_s = total - self._seen, now_s - self._seen_s
        self._seen, self._seen_s = total, now_s
        return min(1.0, used_s / (elapsed_s * pool.num_ready)) if elapsed_s and pool.num_ready else 0.0


class HorizontalPodAutoscaler:
    """Kubernetes' algorithm, on the use of replicas, with its defaults.

    Source: kubernetes.io, Horizontal Pod Autoscaling, "Algorithm details" and "Default behavior".
    """

    period_s = 15.0
    tolerance = 0.1
    stabilization_s = 300.0

    def __init__(self, target: float, max_replicas: int, by_slots: bool) -> None:
        """``by_slots`` is the used share of slots; else the share of time in which a GPU does anything at all."""
        self.target, self._max_replicas = target, max_replicas
        self._metrics = {modality: _Metric(by_slots) for modality in MODALITIES}
        self._recent: dict[Modality, deque[tuple[float, int]]] = {modality: deque() for modality in MODALITIES}

    def decide(self, modality: Modality, pool: Pool, now_s: float) -> int:
        """Replicas after tolerance, stabilization and the limits of a step."""
        current, use = len(pool.replicas), self._metrics[modality].read(pool, now_s)
        wanted = self.recommendation(use, current, pool.num_ready)
        recent = self._recent[modality]
        if not recent:  # what there is when it begins counts as its first recommendation
            recent.append((now_s, current))
        recent.append((now_s, wanted))
        while recent[0][0] < now_s - self.stabilization_s:
            recent.popleft()
        if wanted < current:
            wanted = min(current, max(count for _, count in recent))
        most = max(2 * current, current + 4)
        return max(1, min(wanted, most, self._max_replicas))

    def recommendation(self, use: float, current: int, num_ready: int) -> int:
        """Replicas by the ratio of ``use`` to the target; those that are not ready count as unused on the way up."""
        ratio = use / self.target
        if abs(ratio - 1) <= self.tolerance or not num_ready:
            return current
        if num_ready < current and ratio > 1:
            ratio *= num_ready / current
            if ratio <= 1 + self.tolerance:
                return current
            return math.ceil(ratio * current)
        return math.ceil(ratio * num_ready)
