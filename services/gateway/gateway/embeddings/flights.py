"""Work in progress by key: who asks for what is already under way in this process waits for it.

Knows nothing of what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, NamedTuple, TypeVar

from opentelemetry import trace

from trichord.telemetry import spans

T = TypeVar("T")


class Landed(NamedTuple, Generic[T]):
    """What came of some work."""

    result: T
    led: bool
    """Whether this caller's own work was done, and not another's."""


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.num_waiting = 0
        self.begun_in = trace.get_current_span()


class Flights(Generic[T]):
    """At most one piece of work for each key at a time.

    The work belongs to all who wait for it: one who is cancelled leaves, the last to leave cancels it. Its spans are in
    the trace of who began it; the others' have one, "flight", that links there.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[T]] = {}
        self._ending: set[asyncio.Task[T]] = set()

    def under_way(self, key: bytes) -> bool:
        """Whether somebody waits for this key's work."""
        return key in self._flights

    async def join(self, key: bytes, work: Callable[[], Coroutine[Any, Any, T]]) -> Landed[T]:
        """The result of the work of ``key``, which is ``work`` if none is under way. Raises what the work raised."""
        flight = self._flights.get(key)
        led = flight is None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(work(), name="encode once"))
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.num_waiting += 1
        with nullcontext() if led else _waiting(flight):
            try:
                await asyncio.wait({flight.task})
            finally:
                flight.num_waiting -= 1
                if not flight.num_waiting and not flight.task.done():
                    self._abandon(key, flight.task)
            return Landed(flight.task.result(), led)

    def _abandon(self, key: bytes, task: asyncio.Task[T]) -> None:
        del self._flights[key]  # at once: who comes now must not join what is being cancelled
        self._ending.add(task)
        task.cancel()

    def _landed(self, key: bytes, task: asyncio.Task[T]) -> None:
        if task in self._ending:
            self._ending.discard(task)
            if not task.cancelled():
                task.exception()  # retrieved: nobody is left to tell
        else:
            del self._flights[key]


def _waiting(flight: _Flight[Any]) -> AbstractContextManager[object]:
    return spans.span("flight", links=spans.link_with(flight.begun_in))
