"""Takes usage events from whoever has them; a thread keeps them on disk, then sends them to the queue in order.

Nobody who reports ever waits, for neither the disk nor the queue, and no fault of either comes back: what is dropped is
counted. What the queue has taken may come once more after a failure or a crash: an event's ``id`` tells.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from itertools import takewhile
from math import inf

import structlog
from prometheus_client import Counter, Gauge

from trichord.errors import TrichordError
from trichord.jobs.usage.spool import Spool
from trichord.v1 import jobs_pb2

log = structlog.get_logger(__name__)

MAX_FRESH = 10_000
"""Events that wait for the disk."""
BATCH = 256
"""Events in flight at once."""
FIRST_DELAY_S, MAX_DELAY_S = 0.5, 15.0
"""Before the next try while the queue is away: twice as long each time."""
LINGER_S = 0.5
"""How long an end waits for the queue: what is left then stays on disk."""

EVENTS = Counter(
    "trichord_usage_events",
    "Usage events by what became of them: sent to the queue, which may have taken one twice; or dropped: full, for "
    "there was no room on disk or before it; unwritten, for the disk failed; unreadable, for it lost them.",
    ["result"],
)
SPOOL_BYTES = Gauge("trichord_usage_spool_bytes", "Bytes on disk of usage events that wait, and of some sent lately.")

_SENT, _FULL, _UNWRITTEN, _UNREADABLE = (
    EVENTS.labels(result) for result in ("sent", "full", "unwritten", "unreadable")
)

Report = Callable[[jobs_pb2.UsageEvent], None]
Submit = Callable[[jobs_pb2.UsageEvent], "Future[None]"]
"""Has the queue take an event; the future ends when it has. May raise a TrichordError instead."""


def unreported(event: jobs_pb2.UsageEvent) -> None:
    """Where there is no queue."""


class UsageReporter:
    """See the module. Has the spool to itself until it is closed."""

    def __init__(self, spool: Spool, submit: Submit) -> None:
        self._spool, self._submit = spool, submit
        self._fresh: deque[bytes] = deque()
        self._in_flight: list[Future[None]] = []
        self._delay_s, self._next_try_s, self._end_s = FIRST_DELAY_S, 0.0, inf
        self._is_empty = False
        """Whether there was nothing to be sent when that was last looked at."""
        self._woken = threading.Event()
        self._woken.set()  # for what an earlier process left
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._thread.start()

    def report(self, event: jobs_pb2.UsageEvent) -> None:
        """Takes an event, from any thread."""
        if len(self._fresh) >= MAX_FRESH or self._end_s < inf:
            _FULL.inc()
            return
        self._fresh.append(event.SerializeToString())
        self._woken.set()

    async def close(self) -> None:
        """Has everything on disk, and what can be in the queue; may be called again."""
        self._end_s = min(self._end_s, time.monotonic() + LINGER_S)
        self._woken.set()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._is_over():
            self._woken.wait(self._patience_s())
            self._woken.clear()
            self._keep()
            try:
                self._settle()
                self._ship()
            except OSError as error:
                log.error("usage events cannot be read", error=error.strerror)
                self._put_off()
            SPOOL_BYTES.set(self._spool.num_bytes)
        self._keep()
        self._spool.close()

    def _is_over(self) -> bool:
        return self._end_s < inf and (self._is_empty or time.monotonic() >= self._end_s)

    def _patience_s(self) -> float | None:
        """Until something is to be done though nobody says so; None: never."""
        next_s = min(self._end_s, self._next_try_s or inf)
        return None if next_s == inf else max(0.0, next_s - time.monotonic())

    def _keep(self) -> None:
        """Moves what is fresh to the disk."""
        records = [self._fresh.popleft() for _ in range(len(self._fresh))]
        try:
            num_dropped = len(records) - self._spool.append(records)
        except OSError as error:
            log.error("usage events dropped", dropped=len(records), error=error.strerror)
            _UNWRITTEN.inc(len(records))
        else:
            if num_dropped:
                log.error("usage events dropped", dropped=num_dropped, error="no room")
                _FULL.inc(num_dropped)

    def _settle(self) -> None:
        """Once all in flight have ended: forgets those that came before the first that failed."""
        if not self._in_flight or not all(future.done() for future in self._in_flight):
            return
        num_sent = len(list(takewhile(_is_sent, self._in_flight)))
        self._spool.forget(num_sent)
        if num_sent < len(self._in_flight):
            self._put_off()
        else:
            self._delay_s = FIRST_DELAY_S
        self._in_flight = []

    def _put_off(self) -> None:
        self._next_try_s = time.monotonic() + self._delay_s
        self._delay_s = min(MAX_DELAY_S, self._delay_s * 2)

    def _ship(self) -> None:
        """Sends the oldest events, unless some are in flight or failed just now; after a failure one, as a probe."""
        if self._in_flight or time.monotonic() < self._next_try_s:
            return
        num_records = 1 if self._next_try_s else BATCH
        self._next_try_s = 0.0  # as long as they have not failed, there is nothing to do but at somebody's word
        num_unreadable = self._spool.num_unreadable
        self._in_flight = [self._submitted(record) for record in self._spool.peek(num_records)]
        _UNREADABLE.inc(self._spool.num_unreadable - num_unreadable)
        self._is_empty = not self._in_flight
        for future in self._in_flight:
            future.add_done_callback(lambda _: self._woken.set())

    def _submitted(self, record: bytes) -> Future[None]:
        try:
            future = self._submit(jobs_pb2.UsageEvent.FromString(record))
            future.add_done_callback(_count)
            return future
        except TrichordError as error:
            refused: Future[None] = Future()
            refused.set_exception(error)
            return refused


def _count(sent: Future[None]) -> None:
    if _is_sent(sent):
        _SENT.inc()


def _is_sent(future: Future[None]) -> bool:
    return not future.cancelled() and future.exception() is None
