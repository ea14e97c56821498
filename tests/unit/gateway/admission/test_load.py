"""Rates of a lane whose clock is the test's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.load import Decaying, Load, Sliding


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def serve(load: Load, clock: Clock, cost: int, seconds: float) -> None:
    load.joined(cost)
    load.started(cost, 0.0)
    clock.now_s += seconds
    load.finished(cost)


def test_a_steady_stream_has_its_rate(clock: Clock) -> None:
    load = Load(clock)
    for _ in range(600):
        clock.now_s += 0.1
        load.joined(3)
    assert load.arrived_cost_per_s == pytest.approx(30, rel=0.1)
    clock.now_s += 11
    assert load.arrived_cost_per_s == 0, "to the last bit, or nothing would ever sleep"


def test_a_replica_is_measured_while_it_works_and_not_while_it_rests(clock: Clock) -> None:
    load = Load(clock)
    assert load.served_cost_per_s_per_replica is None
    for _ in range(20):
        serve(load, clock, cost=4, seconds=0.5)
        clock.now_s += 2.0
    assert load.served_cost_per_s_per_replica == pytest.approx(8, rel=0.05)


def test_two_replicas_that_work_side_by_side_each_do_half(clock: Clock) -> None:
    load = Load(clock)
    load.num_replicas = 2
    for _ in range(20):
        for _ in range(4):
            load.joined(5)
            load.started(5, 0.0)
        clock.now_s += 1.0
        for _ in range(4):
            load.finished(5)
    assert load.served_cost_per_s_per_replica == pytest.approx(10, rel=0.05)


def test_the_percentile_is_of_the_last_seconds(clock: Clock) -> None:
    load = Load(clock)
    assert load.wait_p95_ms == 0
    for wait_ms in range(1, 101):
        load.joined(1)
        load.started(1, wait_ms / 1e3)
    assert load.wait_p95_ms == pytest.approx(95)
    clock.now_s += 11
    assert load.wait_p95_ms == 0


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["leaves", "is served"])), max_size=30))
def test_what_came_and_went_leaves_nothing(work: list[tuple[int, str]]) -> None:
    load = Load(Clock())
    for cost, _ in work:
        load.joined(cost)
    assert load.queued_cost == sum(cost for cost, _ in work)
    for cost, fate in work:
        if fate == "leaves":
            load.left(cost)
        else:
            load.started(cost, 0.1)
    assert load.queued_cost == 0
    for cost, fate in work:
        if fate == "is served":
            load.finished(cost)
    assert load.running_cost == 0


def test_a_decaying_sum_keeps_a_third_after_its_window() -> None:
    total = Decaying(10.0)
    total.add(100.0, 5.0)
    assert total.sum(15.0) == pytest.approx(36.8, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 9)), max_size=50))
def test_a_sliding_sum_is_of_the_last_seconds(terms: list[tuple[float, int]]) -> None:
    total, now_s = Sliding(10), 0.0
    came: list[tuple[float, int]] = []
    for pause_s, amount in terms:
        now_s += pause_s
        total.add(amount, now_s)
        came.append((now_s, amount))
        assert total.sum(now_s) == sum(term for at_s, term in came if int(at_s) > int(now_s) - 10)
    assert total.sum(now_s + 11) == 0
