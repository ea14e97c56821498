"""How many retries a service gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.retry_budget import MAX_TOKENS, RetryBudget

STEPS = st.lists(st.one_of(st.just("call"), st.just("retry"), st.floats(0, 10)), max_size=300)


@given(STEPS, st.floats(0, 1), st.floats(0, 5))
def test_retries_are_a_share_of_calls_and_a_trickle(steps: list[str | float], ratio: float, per_s: float) -> None:
    now_s = 0.0
    budget = RetryBudget(ratio, per_s, clock=lambda: now_s)
    num_calls = num_retries = 0
    for step in steps:
        if step == "call":
            budget.called()
            num_calls += 1
        elif step == "retry":
            promised = budget.has_retry
            spent = budget.spend()
            assert spent == promised
            num_retries += spent
        else:
            now_s += float(step)
        assert num_retries <= MAX_TOKENS + ratio * num_calls + per_s * now_s + 1e-6


def test_a_full_budget_is_spent_and_earned_again() -> None:
    budget = RetryBudget(0.1, 0.0, clock=lambda: 0.0)
    assert sum(budget.spend() for _ in range(1000)) == MAX_TOKENS
    for _ in range(11):
        budget.called()
    assert [budget.spend() for _ in range(2)] == [True, False]


def test_a_quiet_service_can_retry_once_a_second() -> None:
    now_s = 0.0
    budget = RetryBudget(0.0, 1.0, clock=lambda: now_s)
    while budget.spend():
        pass
    now_s = 1.5
    assert [budget.spend() for _ in range(2)] == [True, False]
