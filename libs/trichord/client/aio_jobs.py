"""The asynchronous client's jobs. ``sync_jobs`` is its twin."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

import grpc

from trichord.client import connection, job_requests
from trichord.client.aio_calls import AioCalls
from trichord.client.connection import CALL_TIMEOUT_S, CHAT_TIMEOUT_S, WATCH_TIMEOUT_S
from trichord.client.retries import remaining_s
from trichord.errors import UnavailableError
from trichord.v1 import jobs_pb2


class Jobs:
    """``trichord.v1.JobService``: many requests at once, for whose answers nobody waits. See ``OmniClient``."""

    def __init__(self, calls: AioCalls) -> None:
        self._calls = calls

    async def submit(
        self,
        items: Collection[jobs_pb2.JobItem],
        spec: jobs_pb2.JobSpec | None = None,
        *,
        timeout_s: float = CHAT_TIMEOUT_S,
    ) -> jobs_pb2.Job:
        """Hands over a job, all of it or nothing. ``items`` are gone through again if an attempt fails.

        With the ``spec.request_id`` of an earlier submission it tells that job. Raises RequestError with a field like
        ``items[3].request.messages``, or AlreadyExistsError if that request id came with other items.
        """
        spec, left_s = job_requests.named(spec), remaining_s(timeout_s)
        metadata = self._calls.caller.metadata(spec.request_id)

        async def attempt() -> jobs_pb2.SubmitJobResponse:
            parts = job_requests.submission(spec, items)
            response: jobs_pb2.SubmitJobResponse = await self._calls.stub.SubmitJob(
                parts, timeout=left_s(), metadata=metadata
            )
            return response

        return (await self._calls.attempts(attempt, timeout_s)).job

    async def get(self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S) -> jobs_pb2.Job:
        """A job as it is now. Raises NotFoundError."""
        response: jobs_pb2.GetJobResponse = await self._calls.call(
            "GetJob", jobs_pb2.GetJobRequest(id=job_id), timeout_s
        )
        return response.job

    async def list(self, *, timeout_s: float = CALL_TIMEOUT_S) -> AsyncGenerator[jobs_pb2.Job, None]:
        """The caller's jobs, newest first. ``timeout_s`` is for each page."""
        request = jobs_pb2.ListJobsRequest(page_size=job_requests.PAGE_SIZE)
        while True:
            page: jobs_pb2.ListJobsResponse = await self._calls.call("ListJobs", request, timeout_s)
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def cancel(self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S) -> jobs_pb2.Job:
        """Ends a job early; what has begun is still finished. Raises NotFoundError."""
        response: jobs_pb2.CancelJobResponse = await self._calls.call(
            "CancelJob", jobs_pb2.CancelJobRequest(id=job_id), timeout_s
        )
        return response.job

    async def watch(self, job_id: str, *, timeout_s: float = WATCH_TIMEOUT_S) -> AsyncGenerator[jobs_pb2.Job, None]:
        """The job now and after each change, until it has ended. Outlives a gateway that is restarted."""
        left_s = remaining_s(timeout_s)
        last: jobs_pb2.Job | None = None

        async def begin() -> tuple[AsyncGenerator[jobs_pb2.WatchJobResponse, None], jobs_pb2.WatchJobResponse]:
            told = self._watched(job_id, left_s())
            return told, await anext(told)

        while last is None or not last.HasField("end_time"):
            told, first = await self._calls.attempts(begin, timeout_s)
            try:
                if first.job != last:
                    yield (last := first.job)
                async for response in told:
                    yield (last := response.job)
            except grpc.RpcError as error:
                if not isinstance(broken := connection.told(error), UnavailableError):
                    raise broken from error
            finally:
                await told.aclose()

    async def results(
        self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> AsyncGenerator[jobs_pb2.ItemResult, None]:
        """The results that there are, in the order of items. ``timeout_s`` is for each page. Raises NotFoundError."""
        request = jobs_pb2.ListJobResultsRequest(id=job_id, page_size=job_requests.PAGE_SIZE)
        while True:
            page: jobs_pb2.ListJobResultsResponse = await self._calls.call("ListJobResults", request, timeout_s)
            for result in page.results:
                yield result
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _watched(self, job_id: str, timeout_s: float) -> AsyncGenerator[jobs_pb2.WatchJobResponse, None]:
        metadata = self._calls.caller.metadata("")
        call = self._calls.stub.WatchJob(jobs_pb2.WatchJobRequest(id=job_id), timeout=timeout_s, metadata=metadata)
        try:
            async for response in call:
                yield response
        finally:
            call.cancel()
