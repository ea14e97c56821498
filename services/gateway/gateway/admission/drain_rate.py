"""How fast a lane works, measured: what honest waiting times are computed from. Pure."""

from __future__ import annotations

MEMORY = 0.95
"""What the past keeps of its weight at each new measurement: the last twenty count."""


class DrainRate:
    """Work a second of ``num_slots`` slots that are all busy, by how long slots were held for how much work."""

    def __init__(self, num_slots: int) -> None:
        self._num_slots = num_slots
        self._num_holds = self._cost = self._held_s = 0.0

    def finished(self, cost: int, held_s: float) -> None:
        """Notes that a slot was held ``held_s`` seconds for work of ``cost``."""
        self._num_holds = MEMORY * self._num_holds + 1
        self._cost = MEMORY * self._cost + cost
        self._held_s = MEMORY * self._held_s + held_s

    def wait_s(self, cost_ahead: float) -> float | None:
        """Seconds until that work is done and the next slot comes free; None while nothing was measured."""
        if not self._num_holds:
            return None
        return (cost_ahead / self._cost + 1 / self._num_holds) * self._held_s / self._num_slots
