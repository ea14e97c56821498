"""How many retries a caller gets: a share of its calls, so that retries cannot multiply an overload.

A token bucket as in gRFC A6's throttling and Finagle's RetryBudget. Pure but for the clock passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RetryBudget:
    """Earns ``ratio`` of a retry for every call and ``min_per_s`` every second; starts with ``max_tokens``, its most.

    Threads may share one: it then may be off by a retry, never by more than they are.
    """

    def __init__(
        self, ratio: float, min_per_s: float, max_tokens: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ratio, self._min_per_s, self._max_tokens, self._clock = ratio, min_per_s, max_tokens, clock
        self._tokens, self._counted_s = max_tokens, clock()

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
        self._tokens, self._counted_s = min(self._tokens + tokens, self._max_tokens), now_s
