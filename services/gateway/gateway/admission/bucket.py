"""One tenant's budgets in this process: bucket.lua in Python, figure for figure.

Pure: integers, and a clock passed in. Knows nothing of tenants or plans.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.admission.cost import Amounts
from gateway.admission.verdict import FOR_EVER_MS

SCALE = 60_000
"""Of a level to its unit, so that a rate a minute times milliseconds is a whole number."""
MAX_DEBT_MIN = 10
"""An overrun is paid back, but not for longer: a wrong figure must not shut a tenant out for days."""
MAX_SLOT_WAIT_MS = 1000
"""Nobody knows when a slot comes back; a second is soon enough to ask again."""


@dataclass
class Buckets:
    """The state: levels in 1/60000 of a unit as of ``at_ms``, and the ends of the leases of the slots in use."""

    at_ms: int
    levels: list[int] | None = None
    """None is full."""
    leases_ms: dict[str, int] = field(default_factory=dict)
    """By reservation."""

    def reserve(
        self, now_ms: int, limits: Amounts, num_slots: int, amounts: Amounts, reservation: str, lease_ms: int
    ) -> list[int]:
        """Takes all of it or nothing. Returns 1 or 0, then remaining and wait in ms of each budget and of the slots."""
        self._end_leases(now_ms)
        levels = self._refill(now_ms, limits)
        waits = [_wait_ms(*each) for each in zip(levels, limits, amounts, strict=True)]
        slot_wait_ms = self._slot_wait_ms(now_ms, num_slots)
        allowed = not any(waits) and not slot_wait_ms
        if allowed:
            self.leases_ms[reservation] = now_ms + lease_ms
            levels = [level - amount * SCALE for level, amount in zip(levels, amounts, strict=True)]
        self.levels = levels
        standing = [figure for level, wait in zip(levels, waits, strict=True) for figure in (level // SCALE, wait)]
        return [int(allowed), *standing, num_slots - len(self.leases_ms), slot_wait_ms]

    def settle(self, now_ms: int, limits: Amounts, credits: Amounts, reservation: str) -> bool:
        """Gives ``credits`` back (takes where negative) and the slot; False if there is no such reservation."""
        self._end_leases(now_ms)
        if self.leases_ms.pop(reservation, None) is None:
            return False
        levels = self._refill(now_ms, limits)
        self.levels = [
            _clamp(level + credit * SCALE, limit) for level, limit, credit in zip(levels, limits, credits, strict=True)
        ]
        return True

    def _refill(self, now_ms: int, limits: Amounts) -> list[int]:
        elapsed_ms = max(0, now_ms - self.at_ms)
        levels = [limit * SCALE for limit in limits] if self.levels is None else self.levels
        self.levels = [_clamp(level + limit * elapsed_ms, limit) for level, limit in zip(levels, limits, strict=True)]
        self.at_ms = now_ms
        return self.levels

    def _end_leases(self, now_ms: int) -> None:
        self.leases_ms = {name: end_ms for name, end_ms in self.leases_ms.items() if end_ms > now_ms}

    def _slot_wait_ms(self, now_ms: int, num_slots: int) -> int:
        if len(self.leases_ms) < num_slots:
            return 0
        if num_slots == 0:
            return FOR_EVER_MS
        return min(MAX_SLOT_WAIT_MS, min(self.leases_ms.values()) - now_ms)


def _clamp(level: int, limit: int) -> int:
    return max(-MAX_DEBT_MIN * limit * SCALE, min(limit * SCALE, level))


def _wait_ms(level: int, limit: int, amount: int) -> int:
    missing = amount * SCALE - level
    if amount == 0 or missing <= 0:
        return 0
    if amount > limit:
        return FOR_EVER_MS
    return -(-missing // limit)
