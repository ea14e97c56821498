"""When a process that died may be started again. Pure: it is told the time."""

from __future__ import annotations

from collections import deque

MAX_RESTARTS = 3
WINDOW_S = 60.0
FIRST_DELAY_S = 0.5


class RestartBudget:
    """At most MAX_RESTARTS in any WINDOW_S, each after twice the delay of the one before."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def delay_s(self, now_s: float) -> float | None:
        """Spends one restart and returns the seconds to wait before it; None if the budget is spent."""
        while self._times and now_s - self._times[0] >= WINDOW_S:
            self._times.popleft()
        if len(self._times) >= MAX_RESTARTS:
            return None
        self._times.append(now_s)
        return FIRST_DELAY_S * (1 << (len(self._times) - 1))
