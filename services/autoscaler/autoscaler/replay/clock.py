"""Simulated time: what is to happen when. Events of one moment happen in the order in which they were asked for."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """A queue of events, and the time of the latest that happened."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time_s: float, action: Callable[[], None]) -> None:
        """``action`` is called when it is ``time_s``, which is not before now."""
        heapq.heappush(self._events, (time_s, next(self._numbers), action))

    def step(self) -> None:
        """Goes on to the next event, which must exist."""
        self.now_s, _, action = heapq.heappop(self._events)
        action()

    @property
    def next_s(self) -> float:
        """Time of the next event; infinite if there is none."""
        return self._events[0][0] if self._events else float("inf")
