"""A share of calls may be retried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trichord.retry_budget import RetryBudget


def budget(ratio: float = 0.0, min_per_s: float = 0.0, max_tokens: float = 3.0) -> tuple[RetryBudget, list[float]]:
    now_s = [0.0]
    return RetryBudget(ratio, min_per_s, max_tokens, lambda: now_s[0]), now_s


def spent(budget: RetryBudget) -> int:
    count = 0
    while count < 100 and budget.spend():
        count += 1
    return count


def test_it_starts_full_and_ends() -> None:
    full, _ = budget()
    assert spent(full) == 3
    assert not full.spend()


def test_calls_earn_a_share() -> None:
    empty, _ = budget(ratio=0.25)
    spent(empty)
    for _ in range(8):
        empty.called()
    assert spent(empty) == 2


def test_time_earns_and_no_more_than_fits() -> None:
    empty, now_s = budget(min_per_s=0.5)
    spent(empty)
    now_s[0] = 2.0
    assert spent(empty) == 1
    now_s[0] = 1e6
    assert spent(empty) == 3


@given(st.lists(st.booleans(), max_size=200))
def test_retries_never_exceed_what_was_saved_and_earned(is_call: list[bool]) -> None:
    shared, _ = budget(ratio=0.125, max_tokens=2)
    num_retries = sum(1 for call in is_call if (shared.called() if call else shared.spend()))
    assert num_retries <= 2 + 0.125 * sum(is_call)
