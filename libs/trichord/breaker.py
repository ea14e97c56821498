"""A circuit breaker: stops calling what has failed again and again, and tries it again after a while.

Pure but for the clock passed in. Knows nothing of what is called.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """Closed until ``max_failures`` in a row; then open for ``open_s`` seconds; then half open: one probe decides.

    Every ``admit`` that said yes must be followed by one of ``succeeded``, ``failed`` and ``abandoned``.
    """

    def __init__(self, max_failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_failures, self._open_s, self._clock = max_failures, open_s, clock
        self._num_failures = 0
        self._open_until_s: float | None = None
        self._is_probing = False

    @property
    def state(self) -> State:
        """Where it stands now. Other threads may ask too."""
        open_until_s = self._open_until_s
        if open_until_s is None:
            return "closed"
        return "open" if self._clock() < open_until_s else "half_open"

    @property
    def admits(self) -> bool:
        """Whether ``admit`` would say yes."""
        state = self.state
        return state == "closed" or (state == "half_open" and not self._is_probing)

    def admit(self) -> bool:
        """Whether a call may go now. While half open, one at a time may."""
        admits = self.admits
        if admits and self._open_until_s is not None:
            self._is_probing = True
        return admits

    def succeeded(self) -> None:
        """A call came back well: closed."""
        self._num_failures, self._open_until_s, self._is_probing = 0, None, False

    def failed(self) -> None:
        """A call failed: one more in a row, or the probe."""
        self._num_failures += 1
        if self._is_probing or self._num_failures >= self._max_failures:
            self._open_until_s = self._clock() + self._open_s
        self._is_probing = False

    def abandoned(self) -> None:
        """A call was given up before it could tell: nothing is learnt."""
        self._is_probing = False

    def retry_after_s(self) -> float:
        """Seconds until a call may be tried; 0 unless open."""
        return 0.0 if self._open_until_s is None else max(0.0, self._open_until_s - self._clock())
