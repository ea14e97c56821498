"""One job kept going until it ends: its items queued a window at a time, queued again if nothing comes of them, and
cancelled or expired when it is time.

Whatever this does may be done twice, by two gateways or after a restart: an item has one result, the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Protocol

import structlog

from gateway.jobs.standing import Standing
from gateway.jobs.tally import Tally, job_ended
from gateway.metrics import jobs as metrics
from trichord.errors import NotFoundError
from trichord.jobs.job_records import JobRecords
from trichord.jobs.message import Message
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import jobs_pb2

log = structlog.get_logger(__name__)

WINDOW_ITEMS = 512
"""Of a job in the queue at once: what comes after it is not held up by 50 000 items, and cancelling needs no queue."""
REFILL_ITEMS = 128
"""Queued together unless fewer are left: each needs its whole pack read."""
BATCH_ITEMS = 64
"""Sent, or written, at once."""
EMPTY_QUEUE_PATIENCE = timedelta(seconds=5)
"""How long nothing may happen while the queue is known to be empty: what was in it is lost then."""
CANCEL_GRACE = timedelta(seconds=60)
"""What items in progress have to end by themselves after a job was cancelled."""
MAX_DOUBLINGS = 10
"""Of the patience with a job of which nothing comes: a queue without workers does not fill with copies."""

_SAID = {
    jobs_pb2.ITEM_STATE_CANCELLED: ("CANCELLED", "The job was cancelled before this item began."),
    jobs_pb2.ITEM_STATE_EXPIRED: ("DEADLINE_EXCEEDED", "The job's deadline passed before this item was answered."),
}


class Queue(Protocol):
    """Where items are put; ``QueueProducer`` is such."""

    async def send(self, topic: str, key: str, message: Message) -> None:
        """Puts one into a topic. Raises UnavailableError or OverloadedError."""


@dataclass(frozen=True)
class Tools:
    """What keeping any job needs."""

    records: JobRecords
    standing: Standing
    queue: Queue
    topics: Topics
    was_empty_after: Callable[[datetime], bool]
    """Whether the queue is known to have been empty at some time after that one."""
    settings: JobsSettings
    clock: Callable[[], datetime]


class Keeping:
    """One job's; it remembers what it queued, and is lost without harm."""

    def __init__(self, record: jobs_pb2.JobRecord, tools: Tools) -> None:
        self.record, self._tools = record, tools
        self.num_pending = record.job.counts.total
        """Items that had not ended when ``go_on`` was last called."""
        self._in_queue: set[int] = set()
        self._moved = tools.clock()
        """When something was last queued, or ended."""
        self._num_stalls = 0
        self._cancelled: datetime | None = None

    async def go_on(self) -> bool:
        """Does what is to be done now; tells whether the job has ended. Raises UnavailableError; call it again then."""
        record, tools, now = self.record, self._tools, self._tools.clock()
        tally = await tools.standing.tally(record)
        self._note(tally, now)
        if tally.num_pending:
            if now.timestamp() >= record.job.spec.deadline.ToNanoseconds() / 1e9:
                await self._end_items(tally, list(tally.pending()), jobs_pb2.ITEM_STATE_EXPIRED)
            elif await tools.records.is_cancelled(record.tenant, record.job.id):
                await self._end_items(tally, self._not_begun(tally, now), jobs_pb2.ITEM_STATE_CANCELLED)
            else:
                await self._fill_queue(tally, now)
        self.num_pending = tally.num_pending
        if not self.num_pending:
            await self._end(tally, now)
        return not self.num_pending

    def _note(self, tally: Tally, now: datetime) -> None:
        """Whether anything ended since it was last looked at."""
        left = {index for index in self._in_queue if tally.is_pending(index)}
        if left != self._in_queue:
            self._in_queue, self._moved, self._num_stalls = left, now, 0

    def _not_begun(self, tally: Tally, now: datetime) -> Sequence[int]:
        """The pending items of a cancelled job that no worker has, as far as is known; all after a while."""
        self._cancelled = self._cancelled or now
        is_over = now - self._cancelled >= CANCEL_GRACE or self._tools.was_empty_after(self._cancelled)
        may_be_begun = () if is_over else self._in_queue
        return [index for index in tally.pending() if index not in may_be_begun]

    async def _fill_queue(self, tally: Tally, now: datetime) -> None:
        if self._in_queue and now - self._moved >= self._patience():
            log.info("queueing again", job=self.record.job.id, num_items=len(self._in_queue))
            metrics.REQUEUED.inc(len(self._in_queue))
            self._num_stalls += 1
            self._in_queue.clear()
        room = WINDOW_ITEMS - len(self._in_queue)
        due = list(islice((index for index in tally.pending() if index not in self._in_queue), room))
        if len(due) == room < REFILL_ITEMS:
            return  # more are left: wait for more room
        for begin in range(0, len(due), BATCH_ITEMS):
            await self._put_into_queue(due[begin : begin + BATCH_ITEMS])

    def _patience(self) -> timedelta:
        patience = timedelta(seconds=self._tools.settings.redelivery_s) * (1 << min(self._num_stalls, MAX_DOUBLINGS))
        return min(patience, EMPTY_QUEUE_PATIENCE) if self._tools.was_empty_after(self._moved) else patience

    async def _put_into_queue(self, indices: Sequence[int]) -> None:
        """Queues some items. Raises UnavailableError if not all of them are known to be there."""
        record, tools = self.record, self._tools
        topic = tools.topics.requests(record.job.spec.priority)
        small = tools.settings.inline_item_bytes
        found = [one async for one in tools.records.items(record, indices, max_bytes=small)]
        sending = (tools.queue.send(topic, self._key(index), self._message(index, item)) for index, item in found)
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        self._moved = tools.clock()
        self._in_queue.update(index for (index, _), outcome in zip(found, outcomes, strict=True) if outcome is None)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    def _key(self, index: int) -> str:
        """Neighbours stay in order; a job is spread over the partitions, so that many workers can share it."""
        return f"{self.record.job.id}/{index // BATCH_ITEMS}"

    def _message(self, index: int, item: jobs_pb2.JobItem | None) -> Message:
        record = self.record
        queued = jobs_pb2.QueuedItem(
            tenant=record.tenant,
            job_id=record.job.id,
            index=index,
            item=item,
            deadline=record.job.spec.deadline,
            traceparent=record.traceparent,
        )
        return Message(queued)

    async def _end_items(self, tally: Tally, indices: Sequence[int], state: jobs_pb2.ItemState) -> None:
        """Writes the same end for all of them that have no other."""
        custom_ids = await self._custom_ids(indices)
        for begin in range(0, len(indices), BATCH_ITEMS):
            batch = indices[begin : begin + BATCH_ITEMS]
            await self._put_results(tally, [self._result(index, custom_ids[index], state) for index in batch])

    async def _custom_ids(self, indices: Sequence[int]) -> Mapping[int, str]:
        custom_ids = dict.fromkeys(indices, "")
        with contextlib.suppress(NotFoundError):  # a job ends, whatever the store lost of it
            async for index, custom_id in self._tools.records.custom_ids(self.record, indices):
                custom_ids[index] = custom_id
        return custom_ids

    async def _put_results(self, tally: Tally, results: Iterable[jobs_pb2.ItemResult]) -> None:
        record, tools = self.record, self._tools

        async def put(result: jobs_pb2.ItemResult) -> jobs_pb2.ItemResult | None:
            if await tools.records.put_result(record.tenant, record.job.id, result):
                return result
            return await tools.records.result(record.tenant, record.job.id, result.index)  # it ended otherwise

        tally.add(result for result in await asyncio.gather(*map(put, results)) if result)

    def _result(self, index: int, custom_id: str, state: jobs_pb2.ItemState) -> jobs_pb2.ItemResult:
        code, message = _SAID[state]
        result = jobs_pb2.ItemResult(
            index=index,
            custom_id=custom_id,
            state=state,
            error=jobs_pb2.ItemError(code=code, message=message),
            request_id=f"{self.record.job.id}-{index}",
        )
        result.end_time.FromDatetime(self._tools.clock())
        return result

    async def _end(self, tally: Tally, now: datetime) -> None:
        job = job_ended(self.record, tally)
        job.end_time.FromDatetime(now)
        if await self._tools.records.put_end(self.record.tenant, job):
            metrics.ended(job)
        self._tools.standing.forget(job.id)
