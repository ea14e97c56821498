"""Who is left out for being worse than its peers, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.outlier import HALF_LIFE_S, MAX_DOUBLINGS, Conduct, is_outlier

EJECTION_S = 10.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def conduct(clock: Clock, num_calls: int = 0, num_failures: int = 0) -> Conduct:
    made = Conduct(EJECTION_S, clock)
    for i in range(num_calls):
        made.answered(well=i >= num_failures)
    return made


def test_one_that_fails_more_than_its_peers_is_an_outlier(clock: Clock) -> None:
    bad, good = conduct(clock, 10, 4), conduct(clock, 10)
    assert is_outlier(bad, [bad, good], 0.5)
    assert not is_outlier(good, [bad, good], 0.5)


def test_what_fails_everywhere_is_nobodys_fault(clock: Clock) -> None:
    pool = [conduct(clock, 10, 9), conduct(clock, 10, 9), conduct(clock, 10, 8)]
    assert not any(is_outlier(one, pool, 1.0) for one in pool)


def test_few_calls_tell_nothing(clock: Clock) -> None:
    bad, good = conduct(clock, 4, 4), conduct(clock, 100)
    assert not is_outlier(bad, [bad, good], 0.5)
    assert not is_outlier(conduct(clock, 10, 10), [bad, conduct(clock, 1)], 1.0)


def test_the_only_one_is_never_left_out(clock: Clock) -> None:
    only = conduct(clock, 100, 100)
    assert not is_outlier(only, [only], 1.0)


def test_old_failures_fade(clock: Clock) -> None:
    bad, good = conduct(clock, 10, 10), conduct(clock, 100)
    clock.now_s += 2 * HALF_LIFE_S
    for one in (bad, good):
        for _ in range(20):
            one.answered(well=True)
    assert bad.counts() == pytest.approx((22.5, 2.5))
    assert not is_outlier(bad, [bad, good], 0.5)


def test_each_ejection_is_twice_as_long_until_it_was_good_for_long(clock: Clock) -> None:
    one, lengths = conduct(clock), []
    for _ in range(MAX_DOUBLINGS + 2):
        one.eject()
        lengths.append(one.ejected_for_s())
        clock.now_s += one.ejected_for_s()
        assert not one.is_ejected
    assert lengths == [EJECTION_S * 2 ** min(i, MAX_DOUBLINGS) for i in range(MAX_DOUBLINGS + 2)]
    clock.now_s += EJECTION_S * 2**MAX_DOUBLINGS + 1
    one.eject()
    assert one.ejected_for_s() == EJECTION_S


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=10), st.floats(0, 1))
def test_never_more_than_the_share_is_out(calls: list[tuple[int, int]], share: float) -> None:
    clock = Clock()
    pool = [conduct(clock, max(total, failed), failed) for total, failed in calls]
    for one in pool:
        if is_outlier(one, pool, share):
            one.eject()
    assert sum(one.is_ejected for one in pool) <= share * len(pool)
