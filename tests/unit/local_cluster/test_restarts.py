"""The restart budget, told the time."""

from hypothesis import given
from hypothesis import strategies as st

from local_cluster.restarts import FIRST_DELAY_S, MAX_RESTARTS, WINDOW_S, RestartBudget


def test_three_in_a_minute_each_later_than_the_one_before() -> None:
    budget = RestartBudget()
    delays = [budget.delay_s(now) for now in (0.0, 1.0, 2.0, 3.0)]
    assert delays == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S, None]


def test_the_budget_comes_back() -> None:
    budget = RestartBudget()
    for now in (0.0, 1.0, 2.0):
        assert budget.delay_s(now)
    assert budget.delay_s(WINDOW_S) == 4 * FIRST_DELAY_S, "the first is forgotten, two are not"
    assert budget.delay_s(WINDOW_S + 100) == FIRST_DELAY_S


@given(st.lists(st.integers(0, 500), max_size=40).map(sorted))
def test_no_window_holds_more_than_the_most(times: list[int]) -> None:
    budget = RestartBudget()
    granted = [now for now in times if budget.delay_s(now) is not None]
    for now in granted:
        assert sum(now - WINDOW_S < other <= now for other in granted) <= MAX_RESTARTS
