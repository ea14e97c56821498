"""Waits longer each time that something fails: 1 s, 2 s, 4 s and so on up to a minute. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from trichord.errors import TrichordError

FIRST_S, LONGEST_S = 1.0, 60.0


class Backoff:
    """Of one thing that is tried again and again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._error: TrichordError | None = None
        self._delay_s = self._until_s = 0.0

    def check(self) -> None:
        """Raises the last failure while it is too early to try again."""
        if self._error and self._clock() < self._until_s:
            raise self._error

    def failed(self, error: TrichordError) -> None:
        """Doubles the time to wait."""
        self._error = error
        self._delay_s = min(self._delay_s * 2 or FIRST_S, LONGEST_S)
        self._until_s = self._clock() + self._delay_s

    def succeeded(self) -> None:
        """Forgets all failures."""
        self._error, self._delay_s = None, 0.0
