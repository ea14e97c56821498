"""What handlers do with jobs, whichever face they have. Knows no gRPC and no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import dataclass, field

from gateway.jobs.standing import Standing
from gateway.jobs.submission import Submission
from trichord.errors import UnavailableError
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import ObjectStore
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

WATCH_INTERVAL_S = 0.4
"""Between two looks at a job that is watched."""


@dataclass(frozen=True)
class Jobs:
    """The jobs of one deployment, at one of its gateways."""

    settings: JobsSettings
    store: ObjectStore
    records: JobRecords
    submission: Submission
    standing: Standing
    wake: Callable[[], None]
    """Tells the keeper that there is something to do."""
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when this gateway is about to end: whoever watches goes on at another one."""

    async def submit(self, tenant: str, spec: jobs_pb2.JobSpec, items: AsyncIterable[jobs_pb2.JobItem]) -> jobs_pb2.Job:
        """Takes a job; see ``Submission.submit``."""
        record = await self.submission.submit(tenant, spec, items)
        self.wake()
        return await self.standing.job(tenant, record.job.id)

    async def cancel(self, tenant: str, job_id: str) -> jobs_pb2.Job:
        """Ends a job early, unless it has ended. Raises NotFoundError, or UnavailableError."""
        job = await self.standing.job(tenant, job_id)
        if job.HasField("end_time"):
            return job
        await self.records.cancel(tenant, job_id)
        self.wake()
        return await self.standing.job(tenant, job_id)

    async def watch(self, tenant: str, job_id: str) -> AsyncGenerator[jobs_pb2.Job, None]:
        """A job now and after each change, until it has ended.

        Raises NotFoundError, or UnavailableError, also when this gateway is about to end.
        """
        last: jobs_pb2.Job | None = None
        while True:
            job = await self.standing.job(tenant, job_id)
            if job != last:
                yield job
            if job.HasField("end_time"):
                return
            last = job
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), WATCH_INTERVAL_S)
                raise UnavailableError("This gateway is shutting down. Watch again, at another one.", retry_after_s=1.0)
