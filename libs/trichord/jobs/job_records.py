"""A job in the store, typed: it is kept whole or not at all, and every one of its objects is written once.

Knows no queue, no clock but the one it is handed, and no rule of when a job ends.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from google.protobuf.message import DecodeError

from trichord.errors import ConflictError, NotFoundError, OverloadedError, UnavailableError
from trichord.jobs import layout
from trichord.jobs.item_packs import ItemWriter, read_custom_ids, read_items
from trichord.jobs.objects import ObjectStore
from trichord.jobs.read_ahead import read_ahead
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

log = structlog.get_logger(__name__)

MAX_RECORD_BYTES = 1 << 20
"""Of a job's record and end: metadata is 16 pairs of 576 characters at most."""
MAX_RESULT_BYTES = 64 << 20
"""Of a result: n answers, each as long as a context is, with what each token's choice was."""


@dataclass(frozen=True)
class OpenJob:
    """A job without an end, or one that is just being taken and may never be a job."""

    tenant: str
    job_id: str
    since: datetime
    """When its taking began, in UTC."""


class JobRecords:
    """All jobs. Every method raises UnavailableError if the store does not answer.

    A ``record`` is what ``keep`` and ``find`` return; ids are checked with ``layout.is_job_id`` by ``find``: what is
    none is no job.
    """

    def __init__(self, store: ObjectStore, settings: JobsSettings) -> None:
        self._store, self._settings = store, settings

    # Taking

    async def keep(
        self,
        tenant: str,
        spec: jobs_pb2.JobSpec,
        items: AsyncIterable[jobs_pb2.JobItem],
        now: datetime,
        *,
        traceparent: str = "",
    ) -> jobs_pb2.JobRecord:
        """Keeps a job with all its items, or nothing at all if ``items`` raises: what it raises is raised.

        ``spec`` has its ``request_id``, priority and deadline set. Submitted again with the same items, the job that
        there is is returned. Raises ConflictError if ``request_id`` was used with other items,
        RequestError with the field ``items[i]`` for one that is too large, ``items`` for none or too many.
        """
        job_id = layout.job_id(tenant, spec.request_id)
        known = await self.find(tenant, job_id)
        # What is known is not written again, only compared. The open mark comes first: no job is ever without one.
        if not known:
            await self._store.put(layout.open_mark(tenant, job_id), tenant.encode())
        writer = ItemWriter(None if known else self._store, tenant, job_id, self._settings)
        try:
            async for item in items:
                await writer.add(item)
            await writer.finish()
            record = _record(tenant, job_id, spec, writer, now, traceparent)
            return await (self._again(record, known) if known else self._write(record))
        except BaseException:
            await writer.discard()
            raise

    async def _write(self, record: jobs_pb2.JobRecord) -> jobs_pb2.JobRecord:
        tenant, job_id = record.tenant, record.job.id
        if not await self._store.exists(layout.open_mark(tenant, job_id)):
            # It was thought to be abandoned, and its items removed.
            raise UnavailableError("The job took too long to be handed over. Submit it in several parts.")
        if not await self._store.create(layout.spec(tenant, job_id), record.SerializeToString()):
            written = await self.find(tenant, job_id)
            assert written, "a record is never removed within a submission"
            if written.upload != record.upload:  # another submission of it was faster
                await self._store.delete_all(layout.items_prefix(tenant, job_id, record.upload))
                return await self._again(record, written)
        await self.put_in_index(record)
        return record

    async def _again(self, record: jobs_pb2.JobRecord, known: jobs_pb2.JobRecord) -> jobs_pb2.JobRecord:
        """What is known, if it is the same job."""
        if record.items_sha256 != known.items_sha256:
            raise ConflictError(
                f"Request id {known.job.spec.request_id!r} was used for a job with other items. Use another id.",
                field="spec.request_id",
            )
        await self.put_in_index(known)  # a crash may have come before it
        return known

    async def put_in_index(self, record: jobs_pb2.JobRecord) -> None:
        """Lists a job among its tenant's: done by ``keep``, and again by who finds that a crash came before it."""
        created = record.job.create_time.ToDatetime(UTC)
        await self._store.create(layout.index_entry(record.tenant, record.job.id, created), b"")

    async def find(self, tenant: str, job_id: str) -> jobs_pb2.JobRecord | None:
        """A job of the tenant; None if there is no such."""
        if not layout.is_job_id(job_id):
            return None
        data = await self._store.get(layout.spec(tenant, job_id), MAX_RECORD_BYTES)
        return None if data is None else jobs_pb2.JobRecord.FromString(data)

    async def job_ids(self, tenant: str, count: int, after: str = "") -> list[tuple[str, str]]:
        """At most ``count`` of a tenant's jobs, newest first: (job id, place). ``after``: the place to go on from."""
        prefix = layout.index_prefix(tenant)
        names = [
            found.key.removeprefix(prefix) async for found in self._store.list(prefix, prefix + after if after else "")
        ]
        return [(name.partition("-")[2], name) for name in heapq.nsmallest(count, names)]

    # Items and results

    async def item(self, record: jobs_pb2.JobRecord, index: int) -> jobs_pb2.JobItem:
        """One item. Raises NotFoundError if it is not there."""
        async for _, item in self.items(record, [index]):
            if item:
                return item
        raise NotFoundError(f"Item {index} of job {record.job.id} is not there.")

    def items(
        self, record: jobs_pb2.JobRecord, indices: Iterable[int], *, max_bytes: int | None = None
    ) -> AsyncIterator[tuple[int, jobs_pb2.JobItem | None]]:
        """Those items, each pack read once; None instead of one larger than ``max_bytes``, which is not even read.

        ``indices`` ascend, and are of the job. Raises NotFoundError for what is not there.
        """
        return read_items(self._store, record, indices, self._settings.max_item_bytes, max_bytes)

    def custom_ids(self, record: jobs_pb2.JobRecord, indices: Iterable[int]) -> AsyncIterator[tuple[int, str]]:
        """How those items are called; no large one is read. Else as ``items``."""
        return read_custom_ids(self._store, record, indices)

    async def put_result(self, tenant: str, job_id: str, result: jobs_pb2.ItemResult) -> bool:
        """Keeps how an item ended, unless that is known already: then False, and what is there stays.

        An object that is no result of it, as when a machine failed while it was written, gives way.
        """
        data = result.SerializeToString()
        if len(data) > MAX_RESULT_BYTES:
            raise OverloadedError(f"A result has {len(data)} bytes, more than the {MAX_RESULT_BYTES} that are kept.")
        key = layout.result(tenant, job_id, result.index)
        if await self._store.create(key, data):
            return True
        if await self.result(tenant, job_id, result.index) is not None:
            return False
        await self._store.put(key, data)
        return True

    async def result(self, tenant: str, job_id: str, index: int) -> jobs_pb2.ItemResult | None:
        """How an item ended; None if it has not, or what is there is no result of it."""
        data = await self._store.get(layout.result(tenant, job_id, index), MAX_RESULT_BYTES)
        return None if data is None else _result(data, index)

    async def result_indices(self, tenant: str, job_id: str) -> set[int]:
        """Which items have ended: a listing, no result is read."""
        prefix = layout.results_prefix(tenant, job_id)
        return {layout.result_index(found.key) async for found in self._store.list(prefix)}

    async def results(self, tenant: str, job_id: str, indices: Iterable[int]) -> AsyncIterator[jobs_pb2.ItemResult]:
        """The results of those items, in their order, several read at a time; those that are not there are left out."""
        async for result in read_ahead(self.result(tenant, job_id, index) for index in indices):
            if result:
                yield result

    # The end

    async def cancel(self, tenant: str, job_id: str) -> None:
        """Marks a job: no item of it begins any more. May be called again."""
        await self._store.create(layout.cancelled(tenant, job_id), b"")

    async def is_cancelled(self, tenant: str, job_id: str) -> bool:
        """Whether it is marked so."""
        return await self._store.exists(layout.cancelled(tenant, job_id))

    async def put_end(self, tenant: str, job: jobs_pb2.Job) -> bool:
        """Keeps a job as it ended, and closes it; False if it has an end already, which stays."""
        is_first = await self._store.create(layout.end(tenant, job.id), job.SerializeToString())
        await self.close(tenant, job.id)
        return is_first

    async def end(self, tenant: str, job_id: str) -> jobs_pb2.Job | None:
        """A job as it ended; None if it has not."""
        data = await self._store.get(layout.end(tenant, job_id), MAX_RECORD_BYTES)
        return None if data is None else jobs_pb2.Job.FromString(data)

    # Open jobs

    async def open_jobs(self) -> AsyncIterator[OpenJob]:
        """Every job that may have work left, of all tenants: some of them have an end, some no record (yet)."""
        async for found in self._store.list(layout.OPEN_PREFIX):
            tenant = await self._store.get(found.key, MAX_RECORD_BYTES)
            if tenant is not None:
                yield OpenJob(tenant.decode(), found.key.rpartition("/")[2], found.modified)

    async def num_open(self, tenant: str) -> int:
        """How many of them are a tenant's."""
        num_jobs = 0
        async for _ in self._store.list(layout.open_prefix(tenant)):
            num_jobs += 1
        return num_jobs

    async def close(self, tenant: str, job_id: str) -> None:
        """Leaves a job out of ``open_jobs`` from now on: it has an end, or never came to be."""
        await self._store.delete(layout.open_mark(tenant, job_id))

    async def forget(self, tenant: str, job_id: str, created: datetime | None = None) -> None:
        """Removes all that is kept of a job, the record first. ``created``: when it was taken, to leave the index."""
        await self._store.delete(layout.spec(tenant, job_id))
        if created:
            await self._store.delete(layout.index_entry(tenant, job_id, created))
        await self._store.delete_all(layout.job_prefix(tenant, job_id))
        await self.close(tenant, job_id)


def _result(data: bytes, index: int) -> jobs_pb2.ItemResult | None:
    with contextlib.suppress(DecodeError):
        result = jobs_pb2.ItemResult.FromString(data)
        if result.index == index and result.state:
            return result
    log.error("torn result", index=index, num_bytes=len(data))
    return None


def _record(
    tenant: str, job_id: str, spec: jobs_pb2.JobSpec, writer: ItemWriter, now: datetime, traceparent: str
) -> jobs_pb2.JobRecord:
    job = jobs_pb2.Job(id=job_id, spec=spec, state=jobs_pb2.JOB_STATE_QUEUED)
    job.counts.total = writer.num_items
    job.create_time.FromDatetime(now)
    return jobs_pb2.JobRecord(
        job=job, tenant=tenant, traceparent=traceparent, items_sha256=writer.sha256, upload=writer.upload
    )
