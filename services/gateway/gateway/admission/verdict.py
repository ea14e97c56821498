"""What a limiter says of a request: whether it may come in, and how each budget of its tenant stands.

Knows nothing of how budgets are kept. The same figures feed errors and rate-limit headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from gateway.admission.cost import QUOTAS
from gateway.admission.plan import Plan
from trichord.errors import QuotaError

FOR_EVER_MS = -1
"""A wait that has no end: the request is larger than the budget ever gets."""


class Budget(NamedTuple):
    """How one budget stands after the decision, in its own unit (audio in milliseconds)."""

    quota: str
    """Its name, one of ``QUOTAS``."""
    limit: int
    """Units a minute; slots for concurrency."""
    remaining: int
    """Units left; below 0 while an overrun is paid back."""
    retry_after_ms: int
    """0 if this budget allowed the request, else milliseconds until it may; ``FOR_EVER_MS`` if it never will."""

    def reset_ms(self) -> int:
        """Milliseconds until the budget is full again if nothing more is taken; 0 for slots, which nobody can tell."""
        if self.quota == "concurrency" or not self.limit:
            return 0
        return -(-(self.limit - self.remaining) * 60_000 // self.limit)


class Verdict(NamedTuple):
    """The decision, and every budget in the order of ``QUOTAS``."""

    allowed: bool
    budgets: tuple[Budget, ...]

    @classmethod
    def from_reply(cls, plan: Plan, reply: Sequence[int]) -> Self:
        """From what bucket.lua and bucket.py reply: 1 or 0, then remaining and wait for each budget."""
        limits = (*plan.limits(), plan.concurrency)
        budgets = map(Budget, QUOTAS, limits, reply[1::2], reply[2::2])
        return cls(reply[0] == 1, tuple(budgets))

    def refusal(self) -> QuotaError:
        """The error of a request that may not come in: the budget with the longest wait, and that wait."""
        worst = max(self.budgets, key=lambda budget: _endless_last(budget.retry_after_ms))
        if worst.retry_after_ms == FOR_EVER_MS:
            return QuotaError(f"The request is larger than {_of(worst)} ever gets. Ask for less.", quota=worst.quota)
        retry_after_s = worst.retry_after_ms / 1000
        message = f"Of {_of(worst)} too little is left. Try again in {retry_after_s:.1f} s."
        return QuotaError(message, quota=worst.quota, retry_after_s=retry_after_s)


def _endless_last(wait_ms: int) -> float:
    return float("inf") if wait_ms == FOR_EVER_MS else wait_ms


def _of(budget: Budget) -> str:
    if budget.quota == "concurrency":
        return f"your budget of {budget.limit} requests at once"
    limit = budget.limit // 1000 if budget.quota == "audio_seconds" else budget.limit
    return f"your budget of {limit} {budget.quota.replace('_', ' ')} a minute"
