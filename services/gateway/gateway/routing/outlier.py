"""Which replica is worse than its peers: one that fails more calls than they do is left out for a while.

Relative, because what fails everywhere (a poisoned request, a dead store) is no replica's fault. What fails every call
is the circuit breaker's. After Envoy's outlier detection, for pools too small for its standard deviations.
Pure but for the clock passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

HALF_LIFE_S = 10.0
"""What happened that long ago counts half."""

MIN_CALLS = 5.0
"""Recent calls from which a rate is told."""

MARGIN = 0.3
"""A failure rate is an outlier if it is higher than the peers' by this much."""

MAX_DOUBLINGS = 5


class Conduct:
    """A replica's recent calls, and how long it is left out."""

    def __init__(self, ejection_s: float, clock: Callable[[], float]) -> None:
        self._ejection_s, self._clock = ejection_s, clock
        self._num_calls = self._num_failures = 0.0
        self._counted_s = clock()
        self._num_ejections = 0
        self._ejected_until_s = clock()

    @property
    def is_ejected(self) -> bool:
        """Whether it is left out now."""
        return self.ejected_for_s() > 0

    def ejected_for_s(self) -> float:
        """Seconds until it is back; 0 if it is not left out."""
        return max(0.0, self._ejected_until_s - self._clock())

    def answered(self, *, well: bool) -> None:
        """Counts a call."""
        self._fade()
        self._num_calls += 1
        self._num_failures += not well

    def counts(self) -> tuple[float, float]:
        """Recent calls, and how many of them failed."""
        self._fade()
        return self._num_calls, self._num_failures

    def eject(self) -> None:
        """Leaves it out, twice as long as the last time; forgotten after as long a time of good conduct."""
        now_s, longest_s = self._clock(), self._ejection_s * 2**MAX_DOUBLINGS
        if now_s - self._ejected_until_s > longest_s:
            self._num_ejections = 0
        self._ejected_until_s = now_s + self._ejection_s * 2 ** min(self._num_ejections, MAX_DOUBLINGS)
        self._num_ejections += 1
        self._num_calls = self._num_failures = 0.0  # it is judged anew when it is back

    def _fade(self) -> None:
        now_s = self._clock()
        remains = 0.5 ** ((now_s - self._counted_s) / HALF_LIFE_S)
        self._num_calls, self._num_failures = self._num_calls * remains, self._num_failures * remains
        self._counted_s = now_s


def is_outlier(conduct: Conduct, pool: Sequence[Conduct], max_ejected_share: float) -> bool:
    """Whether one of ``pool`` is to be left out now: worse than the others by a margin, and not too many are out."""
    num_ejected = sum(other.is_ejected for other in pool)
    if conduct.is_ejected or num_ejected + 1 > max_ejected_share * len(pool):
        return False
    num_calls, num_failures = conduct.counts()
    peers = [other.counts() for other in pool if other is not conduct]
    num_peer_calls = sum(calls for calls, _ in peers)
    if min(num_calls, num_peer_calls) < MIN_CALLS:
        return False
    return num_failures / num_calls >= sum(failures for _, failures in peers) / num_peer_calls + MARGIN
