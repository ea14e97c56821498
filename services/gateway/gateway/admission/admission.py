"""Lets requests in by their tenant's budgets: reserve an estimate, and settle when it is known what it took.

Knows the order of things; where budgets are kept is limiter.py's, who goes first is lanes.py's.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway.admission.cost import Cost
from gateway.admission.lanes import Lanes
from gateway.admission.limiter import Limiter, Reservation
from gateway.admission.plan import Plans
from gateway.admission.standing import Standing
from gateway.admission.verdict import Verdict
from gateway.metrics.admission import LOST_SETTLEMENTS, budgets_away, over_budget
from trichord.errors import OverloadedError, QuotaError, UnavailableError
from trichord.telemetry import spans

T = TypeVar("T")

LEASE_MARGIN_S = 5.0
"""A slot's lease outlasts the request's deadline by this: what it takes to settle."""


class Grant:
    """A request that was let in."""

    def __init__(self) -> None:
        self.actual = Cost()
        """What the request took so far; nothing until somebody says."""

    def add(self, cost: Cost) -> None:
        """Says that the request took this besides: who leaves in the middle of an answer pays for its beginning."""
        self.actual = Cost(*(sum(pair) for pair in zip(self.actual, cost, strict=True)))

    def settle(self, actual: Cost) -> None:
        """Says what the request took in all, whatever was said before."""
        self.actual = actual


class Admission:
    """The front door."""

    def __init__(self, limiter: Limiter, plans: Plans, lanes: Lanes) -> None:
        self.lanes = lanes
        self.standing = Standing()
        """How every tenant's budgets stood last, for rate-limit headers."""
        self._limiter, self._plans = limiter, plans
        self._tasks: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def admitted(self, tenant: str, estimate: Cost, deadline_s: float) -> AsyncIterator[Grant]:
        """Lets a request in for as long as the context lasts, ``deadline_s`` seconds at most.

        What the estimate has more than what was settled is given back, what it has less is taken, whatever the end
        was; the request itself stays counted. Raises QuotaError if a budget does not allow it, and UnavailableError if
        the budgets cannot be looked at and admission fails closed.
        """
        lease_ms = int((deadline_s + LEASE_MARGIN_S) * 1000)
        reservation = Reservation(secrets.token_hex(8), tenant, self._plans.of(tenant), estimate, lease_ms)
        reserving = self._start(self._reserve(reservation), "reserve")
        grant = Grant()
        try:
            await asyncio.shield(reserving)
            yield grant
        finally:
            # Waited for: a tenant with one slot may send its next request at once.
            await asyncio.shield(self._start(self._settle(reserving, reservation, grant.actual), "settle"))

    async def close(self) -> None:
        """Waits for what is still being settled."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, T], name: str) -> asyncio.Task[T]:
        """A task of its own: a caller that is cancelled leaves it to its end."""
        task = asyncio.create_task(work, name=f"admission: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reserve(self, reservation: Reservation) -> Verdict:
        with spans.span("admit"):
            return await self._judged(reservation)

    async def _judged(self, reservation: Reservation) -> Verdict:
        try:
            verdict = await self._limiter.reserve(reservation)
        except (UnavailableError, OverloadedError) as error:
            budgets_away()
            raise UnavailableError("Quotas cannot be checked now. Try again.", retry_after_s=1.0) from error
        self.standing.note(reservation.tenant, verdict)
        if not verdict.allowed:
            refusal = verdict.refusal()
            over_budget(refusal.quota)
            raise refusal
        return verdict

    async def _settle(self, reserving: asyncio.Task[Verdict], reservation: Reservation, actual: Cost) -> None:
        """After the reservation, even if its caller was gone before it was made: else it would never be settled."""
        await asyncio.wait([reserving])
        if reserving.cancelled() or isinstance(reserving.exception(), QuotaError):
            return
        try:
            await self._limiter.settle(reservation, actual)
        except (UnavailableError, OverloadedError):
            LOST_SETTLEMENTS.inc()
