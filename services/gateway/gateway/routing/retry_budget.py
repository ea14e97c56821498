"""How many retries a service gets: a share of its calls, so that retries cannot multiply an overload.

A token bucket as in gRFC A6's throttling and Finagle's RetryBudget. Pure but for the clock passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_TOKENS = 50.0
"""Retries that may be saved up: about the calls that wait at a replica, and all fail at once when it dies."""


class RetryBudget:
    """Earns ``ratio`` of a retry for every call and ``min_per_s`` every second; starts full."""

    def __init__(self, ratio: float, min_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ratio, self._min_per_s, self._clock = ratio, min_per_s, clock
        self._tokens, self._counted_s = MAX_TOKENS, clock()

    @property
    def has_retry(self) -> bool:
        """Whether ``spend`` would say yes."""
        self._earn(0.0)
        return self._tokens >= 1

    def called(self) -> None:
        """Counts a call, its first attempt."""
        self._earn(self._ratio)

    def spend(self) -> bool:
        """Takes one retry if there is one."""
        if not self.has_retry:
            return False
        self._tokens -= 1
        return True

    def _earn(self, tokens: float) -> None:
        now_s = self._clock()
        tokens += (now_s - self._counted_s) * self._min_per_s
        self._tokens, self._counted_s = min(self._tokens + tokens, MAX_TOKENS), now_s
