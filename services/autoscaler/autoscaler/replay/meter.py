"""What a gateway would know of one simulated modality, as the demand that it publishes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

WINDOW_S = 10.0
"""Arrivals are averaged over this long, as gateways do."""
WAITS_WINDOW_S = 30.0


@dataclass
class Usage:
    """What the replicas of a pool have done so far, all together."""

    busy_s: float = 0.0
    """In which a replica had something to do."""
    slot_s: float = 0.0
    """The same, weighted by the used share of its slots."""
    work: float = 0.0
    """In the modality's unit of cost."""


class Window:
    """Numbers of the last ``span_s`` seconds."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._entries: deque[tuple[float, float]] = deque()
        self._total = 0.0

    def add(self, now_s: float, value: float) -> None:
        """One more."""
        self._entries.append((now_s, value))
        self._total += value

    def rate_per_s(self, now_s: float) -> float:
        """Their sum over the window's length, or over the time since the beginning if that is shorter."""
        self._forget(now_s)
        return max(0.0, self._total) / min(self._span_s, max(now_s, 1.0))

    def quantile(self, now_s: float, q: float) -> float:
        """The value that a share ``q`` of them does not exceed; 0 if there are none."""
        self._forget(now_s)
        values = sorted(value for _, value in self._entries)
        return values[min(len(values) - 1, int(q * len(values)))] if values else 0.0

    def _forget(self, now_s: float) -> None:
        while self._entries and self._entries[0][0] < now_s - self._span_s:
            self._total -= self._entries.popleft()[1]
