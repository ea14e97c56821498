"""Where budgets are kept: in Redis for all gateways together, or in this process while Redis is away.

Knows nothing of requests but what they cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.admission.bucket import Buckets
from gateway.admission.cost import Cost
from gateway.admission.plan import Plan
from gateway.admission.verdict import FOR_EVER_MS, Verdict
from gateway.metrics.admission import FALLBACKS
from trichord.errors import OverloadedError, UnavailableError

MAX_LOCAL_TENANTS = 10_000
WHOLE_AGAIN_MS = 2000
"""When to ask again for what only the whole budget holds: Redis is tried every two seconds while it is away."""


@dataclass(frozen=True)
class Reservation:
    """What one request asks for."""

    id: str
    """Unguessable and of this request only."""
    tenant: str
    plan: Plan
    cost: Cost
    """Estimated."""
    lease_ms: int
    """Longest that the slot is kept if nobody settles."""


class Limiter(Protocol):
    """Reserves before a request and settles after it."""

    async def reserve(self, reservation: Reservation) -> Verdict:
        """Takes the estimate from every budget and a slot, or nothing. Raises UnavailableError if it cannot tell."""

    async def settle(self, reservation: Reservation, actual: Cost) -> bool:
        """Corrects the estimate to the actual cost and gives the slot back.

        Happens at most once: returns False if the reservation is not there (refused, settled, its lease ran out).
        Raises UnavailableError if it cannot tell.
        """


class LocalLimiter:
    """Budgets of this process. Forgets the tenant unseen for longest beyond ``MAX_LOCAL_TENANTS``."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``share`` is the fraction of every budget that this process hands out."""
        self._share, self._clock = share, clock
        self._buckets: dict[str, Buckets] = {}

    async def reserve(self, reservation: Reservation) -> Verdict:
        """See Limiter."""
        plan, now_ms = reservation.plan.share(self._share), self._now_ms()
        reply = self._of(reservation.tenant).reserve(
            now_ms, plan.limits(), plan.concurrency, reservation.cost.amounts(), reservation.id, reservation.lease_ms
        )
        return self._of_the_whole(Verdict.from_reply(plan, reply), reservation)

    async def settle(self, reservation: Reservation, actual: Cost) -> bool:
        """See Limiter."""
        buckets = self._buckets.get(reservation.tenant)
        if buckets is None:
            return False
        limits, credit = reservation.plan.share(self._share).limits(), reservation.cost.credit(actual)
        return buckets.settle(self._now_ms(), limits, credit, reservation.id)

    def _of_the_whole(self, verdict: Verdict, reservation: Reservation) -> Verdict:
        """What is too large for the share alone may be asked again: the whole comes back."""
        fits = [
            amount <= limit for amount, limit in zip(reservation.cost.amounts(), reservation.plan.limits(), strict=True)
        ]
        fits.append(reservation.plan.concurrency > 0)
        budgets = [
            budget._replace(retry_after_ms=WHOLE_AGAIN_MS) if budget.retry_after_ms == FOR_EVER_MS and fit else budget
            for budget, fit in zip(verdict.budgets, fits, strict=True)
        ]
        return verdict._replace(budgets=tuple(budgets))

    def _of(self, tenant: str) -> Buckets:
        buckets = self._buckets.pop(tenant, None) or Buckets(self._now_ms())
        self._buckets[tenant] = buckets  # the newest is last
        if len(self._buckets) > MAX_LOCAL_TENANTS:
            del self._buckets[next(iter(self._buckets))]
        return buckets

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class FallbackLimiter:
    """The shared limiter, and while it is away the local one."""

    def __init__(self, shared: Limiter, local: LocalLimiter) -> None:
        self._shared, self._local = shared, local

    async def reserve(self, reservation: Reservation) -> Verdict:
        """See Limiter; never raises."""
        try:
            return await self._shared.reserve(reservation)
        except (UnavailableError, OverloadedError):
            FALLBACKS.inc()
            return await self._local.reserve(reservation)

    async def settle(self, reservation: Reservation, actual: Cost) -> bool:
        """See Limiter. At both: the shared one may have reserved although its answer came too late."""
        locally = await self._local.settle(reservation, actual)
        try:
            return await self._shared.settle(reservation, actual) or locally
        except (UnavailableError, OverloadedError):
            if not locally:
                raise
            return True
