"""One modality's slots, and the queue before them.

At most ``num_slots`` are in use; who comes when none is free waits its turn (priority_queue.py), in a bounded queue and
not beyond its deadline. Who cannot be served in time is told at once, with the time after which it could be. Knows
nothing of what is done in a slot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.admission.drain_rate import DrainRate
from gateway.admission.load import Load
from gateway.admission.priority_queue import Priority, PriorityQueue
from gateway.metrics.admission import QUEUE_DELAY, SHEDS, QueueReason
from trichord.errors import DeadlineError, OverloadedError
from trichord.telemetry import names, spans
from trichord.telemetry.exemplars import exemplar

UNMEASURED_RETRY_S = 1.0
MIN_RETRY_S, MAX_RETRY_S = 0.1, 300.0


@dataclass(frozen=True)
class LaneBounds:
    """What a lane may hold."""

    num_slots: int
    max_queued: int
    max_queued_per_tenant: int
    batch_ageing_s: float


@dataclass(eq=False)
class Ticket:
    """One who wants a slot."""

    tenant: str
    cost: int
    weight: int
    priority: Priority
    joined_s: float
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    granted_s: float = 0.0

    @property
    def waited_s(self) -> float:
        """Seconds until it got the slot."""
        return self.granted_s - self.joined_s


class Lane:
    """See the module."""

    def __init__(self, name: str, bounds: LaneBounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._bounds, self._clock = name, bounds, clock
        self._queue: PriorityQueue[Ticket] = PriorityQueue(bounds.batch_ageing_s)
        self._rate = DrainRate(bounds.num_slots)
        self._num_used = 0
        self.load = Load(clock)
        """What there is to do, for whoever scales replicas."""

    @property
    def num_queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    @asynccontextmanager
    async def slot(
        self, tenant: str, cost: int, weight: int, priority: Priority, deadline_s: float
    ) -> AsyncIterator[Ticket]:
        """Holds a slot inside; ``cost`` (>= 1) is the work in a unit of the lane's own.

        Raises OverloadedError at once if a queue is full or the wait would outlast ``deadline_s`` seconds, and
        DeadlineError if against expectation it did.
        """
        ticket = Ticket(tenant, max(1, cost), weight, priority, self._clock())
        with spans.span("lane", attributes={names.MODALITY: self._name}):
            await self._turn(ticket, deadline_s)
        try:
            yield ticket
        finally:
            self._leave(ticket)

    async def _turn(self, ticket: Ticket, deadline_s: float) -> None:
        self._join(ticket, deadline_s)
        try:
            await self._granted(ticket, deadline_s)
        except BaseException:
            self._leave(ticket)
            raise

    def _join(self, ticket: Ticket, deadline_s: float) -> None:
        if self._num_used == self._bounds.num_slots:
            self._check_room(ticket, deadline_s)
        self._queue.push(ticket, ticket.joined_s)
        self.load.joined(ticket.cost)
        self._dispatch()

    def _check_room(self, ticket: Ticket, deadline_s: float) -> None:
        wait_s = self._rate.wait_s(self._queue.cost_ahead(ticket))
        num_free = self._bounds.max_queued - len(self._queue)
        if num_free <= 0:
            raise self._shed("queue_full", wait_s)
        if self._queue.num_jobs(ticket.tenant) >= self._tenant_limit(ticket, num_free):
            raise self._shed("tenant_queue_full", wait_s)
        if wait_s is not None and wait_s > deadline_s:
            raise self._shed("deadline", wait_s - deadline_s)

    def _tenant_limit(self, ticket: Ticket, num_free: int) -> int:
        """Most waiters of a tenant: no more than places are free, so that a flood leaves room for those who come later.

        Dynamic thresholds, Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998. Batch work takes half.
        """
        limit = min(self._bounds.max_queued_per_tenant, num_free)
        return limit // 2 if ticket.priority is Priority.BATCH else limit

    def _shed(self, reason: QueueReason, retry_after_s: float | None) -> OverloadedError:
        SHEDS.labels(reason, self._name).inc()
        after_s = UNMEASURED_RETRY_S if retry_after_s is None else min(max(retry_after_s, MIN_RETRY_S), MAX_RETRY_S)
        what = {
            "queue_full": f"The {self._name} queue is full.",
            "tenant_queue_full": f"You have as many requests in the {self._name} queue as it takes of one tenant.",
        }.get(reason, f"The wait in the {self._name} queue is longer than the request's deadline.")
        return OverloadedError(f"{what} Try again in {after_s:.1f} s.", retry_after_s=after_s)

    async def _granted(self, ticket: Ticket, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                await ticket.granted.wait()
        except TimeoutError as error:
            SHEDS.labels("expired", self._name).inc()
            message = f"The request's deadline passed in the {self._name} queue. Allow a longer one or try again."
            raise DeadlineError(message) from error
        QUEUE_DELAY.labels(self._name).observe(ticket.waited_s, exemplar())

    def _leave(self, ticket: Ticket) -> None:
        if ticket.granted.is_set():
            self._num_used -= 1
            self._rate.finished(ticket.cost, self._clock() - ticket.granted_s)
            self.load.finished(ticket.cost)
            self._dispatch()
        else:
            self._queue.remove(ticket)
            self.load.left(ticket.cost)

    def _dispatch(self) -> None:
        now_s = self._clock()
        while self._num_used < self._bounds.num_slots and (ticket := self._queue.pop(now_s)):
            self._num_used += 1
            ticket.granted_s = now_s
            ticket.granted.set()
            self.load.started(ticket.cost, ticket.waited_s)
        if not self._num_used:
            self._queue.rest()
