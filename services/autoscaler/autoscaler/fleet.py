"""All modalities together: each by its own policy, then within one budget of GPUs.

What exists is kept first. Who sleeps and is wanted gets one replica, from anybody's that can be spared if none is free;
then all others get what they want, the highest priority first, from what is free and from what lower priorities can
spare. To spare means: without ending running work or a replica that starts. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler import reasons
from autoscaler.observation import Observation
from autoscaler.policy import Decision, Policy
from autoscaler.rules import FleetRules, Rules
from autoscaler.state import State
from trichord.demand import Modality

_EPSILON = 1e-9
"""Shares of a GPU add up with rounding errors."""


class Fleet:
    """See the module."""

    def __init__(self, rules: FleetRules) -> None:
        self.rules = rules
        self._policies = {modality: Policy(told) for modality, told in rules.modalities.items()}

    def decide(
        self, observations: Mapping[Modality, Observation], states: Mapping[Modality, State], now_s: float
    ) -> dict[Modality, Decision]:
        """A decision for each modality that is observed and has rules; ``states`` may miss any."""
        wanted = {
            modality: policy.decide(observations[modality], states.get(modality, State()), now_s)
            for modality, policy in self._policies.items()
            if modality in observations
        }
        if self.rules.gpu_budget is None:
            return wanted
        given = _Allotment(self.rules.modalities, self.rules.gpu_budget, wanted, observations).given
        return {modality: self._limited(wanted[modality], given[modality]) for modality in wanted}

    def _limited(self, decision: Decision, replicas: int) -> Decision:
        if replicas == decision.replicas:
            return decision
        assert self.rules.gpu_budget is not None, "only a budget limits"
        reason = reasons.budget(decision.reason, replicas, self.rules.gpu_budget)
        return replace(decision, replicas=replicas, reason=reason)


class _Allotment:
    """``given``: replicas by modality, at most as many as were wanted."""

    def __init__(
        self,
        rules: Mapping[Modality, Rules],
        gpu_budget: float,
        wanted: Mapping[Modality, Decision],
        observations: Mapping[Modality, Observation],
    ) -> None:
        self._rules, self._budget, self._wanted = rules, gpu_budget, wanted
        self._by_priority = sorted(wanted, key=lambda modality: -rules[modality].priority)
        self.given = {name: min(wanted[name].replicas, observations[name].num_replicas) for name in wanted}
        self._take(0.0, self._by_priority)
        for name in self._by_priority:
            self._grow(name, min(1, wanted[name].replicas), [other for other in self._by_priority if other != name])
        for name in self._by_priority:
            self._grow(
                name, wanted[name].replicas, [other for other in self._by_priority if self._is_below(other, name)]
            )

    def _free_gpus(self) -> float:
        return self._budget - sum(self._rules[name].gpus_per_replica * count for name, count in self.given.items())

    def _is_below(self, other: Modality, name: Modality) -> bool:
        return self._rules[other].priority < self._rules[name].priority

    def _grow(self, name: Modality, goal: int, donors: list[Modality]) -> None:
        gpus = self._rules[name].gpus_per_replica
        while self.given[name] < goal and (not gpus or self._take(gpus, donors)):
            self.given[name] += 1

    def _take(self, gpus: float, donors: list[Modality]) -> bool:
        """Frees ``gpus``, from the lowest of ``donors`` first; whether that was enough. Takes nothing in vain."""
        taken = dict(self.given)
        for name in reversed(donors):
            while self._free_gpus() + _EPSILON < gpus and self._can_spare(name):
                self.given[name] -= 1
        if self._free_gpus() + _EPSILON >= gpus:
            return True
        if gpus:
            self.given = taken
        return False

    def _can_spare(self, name: Modality) -> bool:
        return self._rules[name].gpus_per_replica > 0 and self.given[name] > self._wanted[name].floor
