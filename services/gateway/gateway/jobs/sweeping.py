"""Removes jobs that ended long ago, with all that is kept of them. Knows how long that is, and nothing of who asks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from google.protobuf.message import DecodeError

from trichord.jobs import layout
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import ObjectStore
from trichord.v1 import jobs_pb2

log = structlog.get_logger(__name__)

_MAX_RECORD_BYTES = 1 << 20


async def sweep(store: ObjectStore, records: JobRecords, keep: timedelta, now: datetime) -> int:
    """Removes those that ended longer than ``keep`` ago; tells how many. Raises UnavailableError."""
    aged = [info.key async for info in store.list(layout.INDEX_PREFIX) if layout.indexed(info.key)[1] < now - keep]
    num_removed = 0
    for key in aged:
        try:
            num_removed += await _swept(store, records, key, now - keep)
        except DecodeError:
            log.error("an unreadable record of a job is left", key=key)
    return num_removed


async def _swept(store: ObjectStore, records: JobRecords, key: str, before: datetime) -> bool:
    spec, _ = layout.indexed(key)
    kept = await store.get(spec, _MAX_RECORD_BYTES)
    if kept is None:  # an earlier sweep was interrupted
        await store.delete_all(spec.removesuffix("spec"))
        await store.delete(key)
        return False
    record = jobs_pb2.JobRecord.FromString(kept)
    end = await records.end(record.tenant, record.job.id)
    if end is None or end.end_time.ToDatetime(UTC) >= before:
        return False
    await records.forget(record.tenant, record.job.id)
    await store.delete(key)
    return True
