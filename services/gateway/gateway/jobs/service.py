"""JobService: the gRPC face of jobs. Thin: every method hands over and passes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from gateway.identity.principal import current_principal
from gateway.jobs import listing
from gateway.jobs.desk import Jobs
from trichord.errors import FeatureOffError, RequestError
from trichord.telemetry import request_line
from trichord.v1 import jobs_pb2, jobs_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class JobService(jobs_pb2_grpc.JobServiceServicer):
    """See jobs.proto for every method's contract."""

    def __init__(self, jobs: Jobs | None) -> None:
        """Without ``jobs`` every method is refused with FeatureOffError."""
        self._given = jobs

    async def SubmitJob(  # noqa: N802
        self, requests: AsyncIterator[jobs_pb2.SubmitJobRequest], context: Context
    ) -> jobs_pb2.SubmitJobResponse:
        """Takes a job."""
        jobs, tenant = self._jobs, current_principal().tenant
        spec = await _spec(requests)
        job = await jobs.submit(tenant, spec, _items(requests))
        request_line.add(operation="submit", request_id=job.spec.request_id, items=job.counts.total)
        return jobs_pb2.SubmitJobResponse(job=job)

    async def GetJob(  # noqa: N802
        self, request: jobs_pb2.GetJobRequest, context: Context
    ) -> jobs_pb2.GetJobResponse:
        """Tells a job."""
        return jobs_pb2.GetJobResponse(job=await self._jobs.standing.job(current_principal().tenant, request.id))

    async def ListJobs(  # noqa: N802
        self, request: jobs_pb2.ListJobsRequest, context: Context
    ) -> jobs_pb2.ListJobsResponse:
        """Tells the tenant's jobs."""
        jobs = self._jobs
        return await listing.list_jobs(request, current_principal().tenant, jobs.records, jobs.standing)

    async def CancelJob(  # noqa: N802
        self, request: jobs_pb2.CancelJobRequest, context: Context
    ) -> jobs_pb2.CancelJobResponse:
        """Ends a job early."""
        return jobs_pb2.CancelJobResponse(job=await self._jobs.cancel(current_principal().tenant, request.id))

    async def WatchJob(  # noqa: N802
        self, request: jobs_pb2.WatchJobRequest, context: Context
    ) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        """Tells a job until it has ended."""
        async with aclosing(self._jobs.watch(current_principal().tenant, request.id)) as told:
            async for job in told:
                yield jobs_pb2.WatchJobResponse(job=job)

    async def ListJobResults(  # noqa: N802
        self, request: jobs_pb2.ListJobResultsRequest, context: Context
    ) -> jobs_pb2.ListJobResultsResponse:
        """Tells a job's results."""
        jobs = self._jobs
        return await listing.list_results(request, current_principal().tenant, jobs.records, jobs.standing)

    @property
    def _jobs(self) -> Jobs:
        if self._given is None:
            message = "This deployment takes no jobs. Its operator sets TRICHORD_JOBS_STORE and TRICHORD_JOBS_KAFKA."
            raise FeatureOffError(message)
        return self._given


async def _spec(requests: AsyncIterator[jobs_pb2.SubmitJobRequest]) -> jobs_pb2.JobSpec:
    async for request in requests:
        if request.WhichOneof("part") == "spec":
            return request.spec
        break
    raise RequestError("A submission begins with the job's spec.", field="spec")


async def _items(requests: AsyncIterator[jobs_pb2.SubmitJobRequest]) -> AsyncIterator[jobs_pb2.JobItem]:
    async for request in requests:
        if request.WhichOneof("part") != "items":
            raise RequestError("After the spec come items only.", field=request.WhichOneof("part") or "items")
        for item in request.items.items:
            yield item
