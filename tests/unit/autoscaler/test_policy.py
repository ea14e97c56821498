"""What the policy promises, whatever the load: properties, and the cases that an operator would ask about."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.observation import Observation
from autoscaler.policy import PATIENCE, Decision, Policy
from autoscaler.rules import Rules
from autoscaler.state import State
from trichord.demand import Demand

RULES = Rules(max_replicas=10, default_rate=10.0, startup_s=30.0, drain_s=5.0, idle_s=120.0, down_window_s=60.0)

amounts = st.floats(0, 1e4)
demands = st.builds(
    Demand,
    modality=st.just("decoder"),
    queued_cost=amounts,
    running_cost=amounts,
    arrived_cost_per_s=st.floats(0, 200),
    served_cost_per_s_per_replica=st.none() | st.floats(0.1, 100),
    queue_p95_ms=st.floats(0, 5000),
    kv_use=st.floats(0, 1),
    num_held=st.integers(0, 20),
)
rules = st.builds(
    Rules,
    min_replicas=st.integers(0, 3),
    max_replicas=st.integers(3, 20),
    step_up=st.integers(1, 20),
    step_down=st.integers(1, 5),
    step_down_every_s=st.sampled_from([0.0, 10.0, 60.0]),
    startup_s=st.sampled_from([0.0, 5.0, 30.0]),
    idle_s=st.sampled_from([0.0, 30.0, 300.0]),
    down_window_s=st.sampled_from([0.0, 60.0, 300.0]),
)


def vision(**told: float) -> Demand:
    return Demand(modality="vision", **told)


def decide(
    demand: Demand | None, replicas: int, ready: int, state: State | None = None, now_s: float = 0.0
) -> Decision:
    seen = demand and demand.model_copy(update={"at_s": now_s})
    return Policy(RULES).decide(Observation(seen, replicas, ready), state or State(), now_s)


def settled(replicas: int, now_s: float = 0.0) -> State:
    """A state that has long known that little is needed."""
    return State(busy_at_s=now_s, needed=((now_s, 1),), num_ready=replicas)


class Replay:
    """A modality whose replicas become ready ``startup_s`` after they were asked for."""

    def __init__(self, told: Rules, replicas: int = 0) -> None:
        self.rules, self.policy, self.state, self.now_s = told, Policy(told), State(), 0.0
        self.ready_at_s = [0.0] * replicas
        self.decisions: list[Decision] = []

    @property
    def num_ready(self) -> int:
        return sum(at_s <= self.now_s for at_s in self.ready_at_s)

    def step(self, demand: Demand | None, seconds: float = 1.0) -> Decision:
        seen = demand and demand.model_copy(update={"at_s": self.now_s})
        decision = self.policy.decide(Observation(seen, len(self.ready_at_s), self.num_ready), self.state, self.now_s)
        self.state = decision.state
        grown = decision.replicas - len(self.ready_at_s)
        self.ready_at_s += [self.now_s + self.rules.startup_s] * max(0, grown)
        if grown < 0:  # as Kubernetes does, those that are not ready go first
            self.ready_at_s = sorted(self.ready_at_s)[:grown]
        self.now_s += seconds
        self.decisions.append(decision)
        return decision


@given(rules, demands, st.integers(0, 20), st.integers(0, 20))
def test_it_stays_between_minimum_and_maximum(told: Rules, demand: Demand, replicas: int, ready: int) -> None:
    observation = Observation(demand, replicas, min(ready, replicas))
    decision = Policy(told).decide(observation, State(), 0.0)
    assert told.min_replicas <= decision.replicas <= told.max_replicas


@given(rules, demands, st.integers(0, 20))
def test_it_never_goes_below_what_runs(told: Rules, demand: Demand, ready: int) -> None:
    decision = Policy(told).decide(Observation(demand, ready, ready), settled(ready), 0.0)
    rate = demand.served_cost_per_s_per_replica or told.default_rate
    in_flight = math.ceil(demand.running_cost / (rate * told.drain_s))
    reachable = max(ready, ready + max(ready, told.step_up), told.min_replicas)
    assert decision.replicas >= min(in_flight, reachable, told.max_replicas)
    assert decision.floor >= min(in_flight, decision.replicas)


@given(rules, demands, demands, st.integers(0, 20), st.integers(0, 20))
def test_more_demand_never_gets_fewer(told: Rules, one: Demand, other: Demand, replicas: int, ready: int) -> None:
    fields = ("queued_cost", "running_cost", "arrived_cost_per_s", "queue_p95_ms", "kv_use", "num_held")
    more = one.model_copy(update={name: max(getattr(one, name), getattr(other, name)) for name in fields})
    ready = min(ready, replicas)
    few, many = (
        Policy(told).decide(Observation(demand, replicas, ready), settled(ready), 0.0).replicas
        for demand in (one, more)
    )
    assert few <= many


@given(rules, demands | st.none(), st.integers(0, 30), st.integers(0, 30), st.floats(0.001, 1e6))
def test_without_fresh_data_nothing_changes(
    told: Rules, demand: Demand | None, replicas: int, ready: int, late_s: float
) -> None:
    observation = Observation(demand, replicas, min(ready, replicas))
    decision = Policy(told).decide(observation, State(), told.stale_s + late_s)
    assert (decision.replicas, decision.floor) == (replicas, replicas)
    assert "Held" in decision.reason


@settings(max_examples=30)
@given(rules, demands, st.integers(0, 10))
def test_a_constant_load_ends_in_one_number(told: Rules, demand: Demand, replicas: int) -> None:
    constant = demand.model_copy(update={"queue_p95_ms": 0.0, "kv_use": 0.0})
    replay = Replay(told, replicas)
    counts = [replay.step(constant, seconds=10.0).replicas for _ in range(200)]
    assert len(set(counts[-60:])) == 1
    falls = [i for i in range(1, 200) if counts[i] < counts[i - 1]]
    rises = [i for i in range(1, 200) if counts[i] > counts[i - 1]]
    assert not falls or not rises or max(rises) < min(falls), f"it flaps: {counts}"


@settings(max_examples=50)
@given(rules, st.lists(demands, min_size=1, max_size=40))
def test_what_starts_is_not_taken_away(told: Rules, load: list[Demand]) -> None:
    replay = Replay(told)
    for demand in load:
        before, starting = len(replay.ready_at_s), len(replay.ready_at_s) - replay.num_ready
        after = replay.step(demand).replicas
        assert not starting or after >= before


@settings(max_examples=30)
@given(rules, st.lists(demands, max_size=30))
def test_without_work_it_ends_at_the_minimum(told: Rules, load: list[Demand]) -> None:
    replay = Replay(told)
    for demand in load:
        replay.step(demand)
    for _ in range(200):
        last = replay.step(vision(), seconds=10.0)
    assert last.replicas == told.min_replicas


def test_a_held_request_wakes_a_sleeper_at_once() -> None:
    decision = decide(vision(num_held=1, queued_cost=1), replicas=0, ready=0)
    assert decision.replicas == 1
    assert decision.reason == "Woken from 0 to 1: 1 request held for it to wake."


def test_a_sleeper_sleeps_on_without_work() -> None:
    decision = decide(vision(), replicas=0, ready=0)
    assert (decision.replicas, decision.reason) == (0, "Asleep: nothing waits, runs or comes.")


def test_it_sleeps_when_idle_for_long_enough_and_not_before() -> None:
    replay = Replay(RULES, replicas=1)
    counts = [replay.step(vision()).replicas for _ in range(122)]
    assert counts == [1] * 120 + [0] * 2
    assert replay.decisions[119].reason == "Steady at 1: no work for 119 s; it sleeps after 120 s."
    assert replay.decisions[120].reason == "Down from 1 to 0: no work for 120 s."


def test_a_minimum_never_sleeps() -> None:
    replay = Replay(RULES.model_copy(update={"min_replicas": 2}), replicas=2)
    assert {replay.step(vision(), seconds=100).replicas for _ in range(50)} == {2}


def test_it_counts_what_waits_against_what_can_be_done_before_help_comes() -> None:
    """One replica does 300 in the 30 s until another is ready: of 400, only 100 are left to it."""
    assert decide(vision(queued_cost=290), replicas=1, ready=1).replicas == 1
    assert decide(vision(queued_cost=400), replicas=1, ready=1).replicas == 2
    assert decide(vision(queued_cost=650), replicas=2, ready=2).replicas == 2


def test_a_queue_that_grows_while_replicas_start_asks_for_no_more_than_at_first() -> None:
    replay = Replay(RULES.model_copy(update={"step_up": 10}))
    counts = [replay.step(vision(arrived_cost_per_s=5, queued_cost=5 * second)).replicas for second in range(30)]
    assert len(set(counts)) == 1, counts


def test_a_measured_rate_replaces_the_default() -> None:
    load = {"arrived_cost_per_s": 40.0}
    assert decide(vision(**load), replicas=5, ready=5).replicas == 5
    assert decide(vision(**load, served_cost_per_s_per_replica=5.0), replicas=5, ready=5).replicas == 10


def test_waiting_over_the_objective_asks_for_one_more_than_is_ready() -> None:
    late = vision(queued_cost=1, queue_p95_ms=1500, arrived_cost_per_s=1)
    assert decide(late, replicas=2, ready=2).replicas == 3
    assert decide(late, replicas=3, ready=2).replicas == 3
    assert "95th percentile" in decide(late, replicas=2, ready=2).reason


def test_a_full_kv_cache_asks_for_more_decoders() -> None:
    demand = Demand(modality="decoder", running_cost=1, kv_use=0.95)
    decision = decide(demand, replicas=4, ready=4)
    assert decision.replicas == 5
    assert "95% of the KV cache" in decision.reason


def test_between_its_two_thresholds_it_stays() -> None:
    """Two replicas of 10 a second: up from 16 a second on, down below 6."""
    for arrived, expected in ((16.1, 3), (15.9, 2), (6.1, 2), (5.9, 1)):
        decision = decide(vision(arrived_cost_per_s=arrived), 2, 2, settled(2))
        assert decision.replicas == expected, arrived


def test_it_goes_down_only_to_what_was_enough_for_the_whole_window() -> None:
    replay = Replay(RULES.model_copy(update={"step_down_every_s": 0.0}), replicas=5)
    replay.step(vision(arrived_cost_per_s=23))
    for _ in range(59):
        assert replay.step(vision(arrived_cost_per_s=1)).replicas == 5
    assert [replay.step(vision(arrived_cost_per_s=1)).replicas for _ in range(5)] == [4, 3, 2, 1, 1]


def test_steps_down_keep_their_distance() -> None:
    replay = Replay(RULES.model_copy(update={"down_window_s": 0.0}), replicas=4)
    counts = [replay.step(vision(arrived_cost_per_s=1)).replicas for _ in range(121)]
    assert counts == [4] + [3] * 60 + [2] * 60
    assert "last step down" in replay.decisions[2].reason


def test_a_start_is_given_up_on_after_a_while() -> None:
    policy, state = Policy(RULES.model_copy(update={"down_window_s": 0.0})), State()
    counts = []
    for second in range(200):
        observation = Observation(vision(arrived_cost_per_s=1, at_s=second), num_replicas=3, num_ready=2)
        decision = policy.decide(observation, state, second)
        state = decision.state
        counts.append(decision.replicas)
    patience = int(PATIENCE * RULES.startup_s)
    assert set(counts[: patience + 1]) == {3}
    assert counts[patience + 1] == 2


def test_one_start_after_another_is_not_given_up_on() -> None:
    """Each takes less than the patience, all together take more."""
    policy, state = Policy(RULES.model_copy(update={"down_window_s": 0.0})), State()
    for second in range(240):
        observation = Observation(vision(arrived_cost_per_s=1, at_s=second), num_replicas=6, num_ready=1 + second // 60)
        decision = policy.decide(observation, state, second)
        state = decision.state
        assert decision.replicas == 6


def test_a_start_that_was_given_up_on_stays_while_it_is_wanted() -> None:
    policy, state = Policy(RULES.model_copy(update={"down_window_s": 0.0})), State()
    for second in range(200):
        demand = vision(arrived_cost_per_s=2, queued_cost=100, at_s=second)
        decision = policy.decide(Observation(demand, num_replicas=3, num_ready=2), state, second)
        state = decision.state
        assert decision.replicas == 3


def test_a_new_autoscaler_takes_nothing_away_before_it_has_watched() -> None:
    replay = Replay(RULES, replicas=6)
    counts = [replay.step(vision(arrived_cost_per_s=1)).replicas for _ in range(62)]
    assert counts == [6] * 60 + [5] * 2


def test_after_an_outage_of_data_it_watches_again() -> None:
    replay = Replay(RULES, replicas=3)
    for _ in range(100):
        replay.step(None)
    counts = [replay.step(vision(arrived_cost_per_s=1)).replicas for _ in range(61)]
    assert counts[:59] == [3] * 59
    assert counts[60] == 2


@pytest.mark.parametrize(("seconds", "sentence"), [(20, "the newest report is 20 s old"), (None, "no gateway tells")])
def test_holding_says_what_is_missing(seconds: float | None, sentence: str) -> None:
    demand = None if seconds is None else vision(at_s=100.0)
    decision = Policy(RULES).decide(Observation(demand, 2, 2), State(), 100.0 + (seconds or 0))
    assert sentence in decision.reason


def test_a_limit_is_told_in_the_reason() -> None:
    assert "limited by step_up, 4 starting at once" in decide(vision(queued_cost=1e4), 1, 1).reason
    assert "(2000 are needed" not in decide(vision(queued_cost=100), 0, 0).reason
    assert "limited by max_replicas" in decide(vision(queued_cost=1e5), 9, 9).reason
