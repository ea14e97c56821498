"""How long an encoder takes to wake, by how long it took before. Pure."""

from __future__ import annotations

MIN_LEFT_S = 1.0
"""What is told when a wake is overdue: nobody knows, and a second is soon enough to ask again."""
NEWEST_WEIGHT = 0.5
"""Of the last wake in the estimate: a node that had to be fetched first must not be believed in for ever."""


class Startup:
    """An estimate, ``assumed_s`` seconds before anything was measured."""

    def __init__(self, assumed_s: float) -> None:
        self._expected_s = assumed_s
        self._is_measured = False

    def took(self, seconds: float) -> None:
        """Notes how long a wake took."""
        weight = NEWEST_WEIGHT if self._is_measured else 1.0
        self._expected_s += weight * (seconds - self._expected_s)
        self._is_measured = True

    def left_s(self, elapsed_s: float) -> float:
        """Seconds that a wake which began so long ago is expected to take still."""
        return max(MIN_LEFT_S, self._expected_s - elapsed_s)
