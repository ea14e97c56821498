"""The decision for one modality: how many replicas, and a sentence that says why. Pure: same inputs, same answer.

Up at once, down late and slowly: more replicas as soon as they are needed, fewer only if nobody needed them for a
while. A replica that starts is counted as if it were there and is not scaled away. Without data nothing changes. Knows
nothing of other modalities (fleet.py) and nothing of what makes replicas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from autoscaler import reasons
from autoscaler.need import need_of
from autoscaler.observation import Observation, has_work
from autoscaler.rules import Rules
from autoscaler.state import State
from trichord.demand import Demand

PATIENCE = 3.0
"""Times ``startup_s`` after which a replica that still starts is given up on, and may be scaled away."""


@dataclass(frozen=True)
class Decision:
    """How many replicas a modality shall have."""

    replicas: int
    reason: str
    """A sentence for people."""
    state: State
    """To be handed to the next decision."""
    floor: int
    """Fewer would end running work or a replica that starts, or be blind: a GPU budget takes none of these."""
    inputs: dict[str, float | None] = field(default_factory=dict)
    """What it rests on, by name with unit; empty without data."""


class _Moment:
    """One decision in the making, with data."""

    def __init__(self, rules: Rules, observation: Observation, demand: Demand, state: State, now_s: float) -> None:
        self.rules, self.demand, self.now_s = rules, demand, now_s
        self.current, self.num_starting = observation.num_replicas, observation.num_starting
        self.num_ready = observation.num_ready
        self.need = need_of(rules, demand, self.num_ready, self._horizon_s(state))
        is_first = state.busy_at_s is None
        self.needed_down = _whole(self.need.down)
        needed = max(self.current, self.needed_down) if is_first else self.needed_down
        self.state = state.needing(needed, has_work(demand), now_s, rules.down_window_s)
        assert self.state.busy_at_s is not None, "the state has seen a decision"
        self.idle_s = now_s - self.state.busy_at_s

    def _horizon_s(self, state: State) -> float:
        """Seconds until more are ready: less than a whole start while some are starting."""
        waited_s = state.starting_s(self.now_s) if self.num_starting else 0.0
        return max(0.0, self.rules.startup_s - waited_s)

    @property
    def is_asleep(self) -> bool:
        return not has_work(self.demand) and (self.current == 0 or self.idle_s >= self.rules.idle_s)

    @property
    def least(self) -> int:
        """Replicas in any case."""
        return max(self.rules.min_replicas, 0 if self.is_asleep else 1)

    @property
    def wanted(self) -> int:
        return max(self.least, _whole(self.need.up))

    @property
    def spare(self) -> int:
        """Replicas beyond which all may end."""
        return self.least if self.is_asleep else max(self.wanted, self.state.most_needed)

    @property
    def is_starting(self) -> bool:
        """Whether replicas start that are not given up on."""
        patience_s = PATIENCE * self.rules.startup_s
        return self.num_starting > 0 and self.state.starting_s(self.now_s) <= patience_s

    @property
    def why(self) -> str:
        return reasons.cause(self.demand, self.need, self.rules)

    def decide(self) -> tuple[int, str]:
        """Replicas and reason; a step down is noted in the state."""
        if self.current > self.rules.max_replicas:
            return self.rules.max_replicas, f"Down from {self.current} to {self.rules.max_replicas}: max_replicas."
        return self._up() if self.wanted > self.current else self._down()

    def _up(self) -> tuple[int, str]:
        at_once = self.num_ready + max(self.rules.step_up, self.num_ready)
        replicas = min(self.wanted, max(self.current, at_once, self.rules.min_replicas), self.rules.max_replicas)
        return replicas, reasons.up(self.current, replicas, self.wanted, self.rules, self.why)

    def _down(self) -> tuple[int, str]:
        current, spare, rules = self.current, self.spare, self.rules
        if spare >= current:
            return current, self._kept()
        if self.is_starting:
            return current, reasons.starting(current, self.num_starting, spare)
        if self.is_asleep:
            return spare, reasons.asleep(current, spare, self.idle_s)
        if self.now_s - self.state.stepped_down_at_s < rules.step_down_every_s:
            return current, reasons.paced(current, spare, rules)
        self.state = replace(self.state, stepped_down_at_s=self.now_s)
        replicas = max(spare, current - rules.step_down)
        return replicas, reasons.down(current, replicas, spare, rules)

    def _kept(self) -> str:
        now_needed = max(self.wanted, self.needed_down)
        if now_needed < self.current:
            return reasons.remembered(self.current, now_needed, self.rules)
        if self.current > self.rules.min_replicas and not has_work(self.demand):
            return reasons.idle(self.current, self.idle_s, self.rules)
        return reasons.steady(self.current, self.why)

    def floor(self, replicas: int) -> int:
        """See Decision."""
        if self.is_starting:
            return min(self.current, replicas)
        return min(replicas, max(self.least, _whole(self.need.in_flight)))

    def inputs(self) -> dict[str, float | None]:
        """See Decision."""
        told = self.demand.model_dump(exclude={"modality", "at_s"})
        parts = {f"need_{name}": value for name, value in self.need._asdict().items() if name != "rate"}
        return told | parts | {"rate": self.need.rate, "age_s": self.now_s - self.demand.at_s, "idle_s": self.idle_s}


def _whole(replicas: float) -> int:
    """Rounded up, but for what only rounding errors have added."""
    return math.ceil(replicas - 1e-9)


class Policy:
    """See the module."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def decide(self, observation: Observation, state: State, now_s: float) -> Decision:
        """The decision at ``now_s``, seconds on the clock of ``observation.demand.at_s``, which must not jump."""
        state = state.seeing(observation, now_s)
        if observation.demand is None or observation.is_stale(now_s, self.rules.stale_s):
            return self._held(observation, state, now_s)
        moment = _Moment(self.rules, observation, observation.demand, state, now_s)
        replicas, reason = moment.decide()
        return Decision(replicas, reason, moment.state, moment.floor(replicas), moment.inputs())

    def _held(self, observation: Observation, state: State, now_s: float) -> Decision:
        """No data is neither idleness, nor a reason to have fewer once there is data again."""
        current = observation.num_replicas
        silent_s = now_s - observation.demand.at_s if observation.demand else None
        remembering = state.needing(current, True, now_s, self.rules.down_window_s)
        return Decision(current, reasons.stale(current, silent_s, self.rules), remembering, floor=current)
