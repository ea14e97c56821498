"""Jobs as they are now: what the store has of their results, counted without reading any of it twice.

Word that an item ended (``ended``) is only a hint to look; without it a job is listed again now and then, and all that
is missed is time. Knows no queue and ends no job.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gateway.jobs.tally import Tally, job_now
from trichord.errors import NotFoundError
from trichord.jobs.job_records import JobRecords
from trichord.v1 import jobs_pb2

MAX_KNOWN = 1024
"""Jobs that are remembered: 50 MB if all have 50 000 items."""
MAX_HINTED = 1024
"""Items of a job that are known to have ended and not looked at; with more of them all its results are listed."""
LIST_INTERVAL_S = 1.0
"""Between two listings of a job's results, at least."""
LISTING_SHARE = 0.05
"""Of time that may be spent listing one job: a large one in a slow store is listed seldom."""

_Cached = TypeVar("_Cached")


@dataclass
class _Known:
    """What is remembered of a job without an end."""

    record: jobs_pb2.JobRecord
    tally: Tally
    hinted: set[int] = field(default_factory=set)
    listed_s: float = float("-inf")
    listing_s: float = 0.0
    """What the last listing took."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_due(self, now_s: float) -> bool:
        """Whether its results should be listed again."""
        return now_s - self.listed_s >= max(LIST_INTERVAL_S, self.listing_s / LISTING_SHARE)


class Standing:
    """Of all jobs, as one gateway sees them."""

    def __init__(self, records: JobRecords, clock: Callable[[], float] = time.monotonic) -> None:
        self._records, self._clock = records, clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._ended: OrderedDict[str, jobs_pb2.Job] = OrderedDict()

    async def job(self, tenant: str, job_id: str) -> jobs_pb2.Job:
        """A job of the tenant's. Raises NotFoundError alike if it never was or is another's, or UnavailableError."""
        record = await self.record(tenant, job_id)
        if ended := await self._end(record):
            return ended
        is_cancelled = await self._records.is_cancelled(tenant, job_id)
        return job_now(record, await self.tally(record), is_cancelled=is_cancelled)

    async def record(self, tenant: str, job_id: str) -> jobs_pb2.JobRecord:
        """A job as it was taken. Raises as ``job`` does."""
        known = self._known.get(job_id)
        record = known.record if known else await self._records.find(tenant, job_id)
        if record is None or record.tenant != tenant:
            raise NotFoundError("There is no such job.", field="id")
        return record

    async def ended_items(self, tenant: str, job_id: str) -> Sequence[int]:
        """The items of a job that have ended, in order. Raises as ``job`` does."""
        record = await self.record(tenant, job_id)
        if await self._end(record):
            return range(record.job.counts.total)
        return list((await self.tally(record)).ended())

    async def tally(self, record: jobs_pb2.JobRecord) -> Tally:
        """The ends of a job's items, as far as they are known now."""
        known = self._remembered(record)
        async with known.lock:
            if known.is_due(began_s := self._clock()):
                hinted = await self._records.result_indices(record.tenant, record.job.id)
                known.listed_s, known.listing_s = self._clock(), self._clock() - began_s
            else:
                hinted, known.hinted = known.hinted, set()
            await self._read(known, hinted)
        return known.tally

    def ended(self, event: jobs_pb2.ItemEnded) -> bool:
        """Word that an item ended; tells whether it is of a job that is remembered."""
        known = self._known.get(event.job_id)
        if known:
            known.hinted.add(event.index)
            if len(known.hinted) > MAX_HINTED:  # nobody asks for it here, and it may have ended meanwhile
                known.hinted, known.listed_s = set(), float("-inf")
        return known is not None

    def forget(self, job_id: str) -> None:
        """Drops what is remembered of a job: it has ended."""
        self._known.pop(job_id, None)

    async def _end(self, record: jobs_pb2.JobRecord) -> jobs_pb2.Job | None:
        """The job as it ended, if it has. Read once: it stays as it is."""
        job_id = record.job.id
        if (ended := self._ended.get(job_id)) is None:
            ended = await self._records.end(record.tenant, job_id)
            if ended is not None:
                self.forget(job_id)
                _put(self._ended, job_id, ended)
        return ended

    def _remembered(self, record: jobs_pb2.JobRecord) -> _Known:
        known = self._known.pop(record.job.id, None) or _Known(record, Tally(record.job.counts.total))
        _put(self._known, record.job.id, known)
        return known

    async def _read(self, known: _Known, indices: Iterable[int]) -> None:
        """Counts the results of those items that are there."""
        record, tally = known.record, known.tally
        news = sorted(index for index in indices if 0 <= index < record.job.counts.total and tally.is_pending(index))
        async for result in self._records.results(record.tenant, record.job.id, news):
            tally.add([result])


def _put(cache: OrderedDict[str, _Cached], key: str, value: _Cached) -> None:
    """Remembers a value, and forgets the one that was not needed for the longest time if there are too many."""
    cache[key] = value
    if len(cache) > MAX_KNOWN:
        cache.popitem(last=False)
