"""The blocking client's jobs: ``aio_jobs``'s twin."""

from __future__ import annotations

from collections.abc import Collection, Generator

import grpc

from trichord.client import connection, job_requests
from trichord.client.connection import CALL_TIMEOUT_S, CHAT_TIMEOUT_S, WATCH_TIMEOUT_S
from trichord.client.retries import remaining_s
from trichord.client.sync_calls import SyncCalls
from trichord.errors import UnavailableError
from trichord.v1 import jobs_pb2


class SyncJobs:
    """``Jobs`` for blocking code."""

    def __init__(self, calls: SyncCalls) -> None:
        self._calls = calls

    def submit(
        self,
        items: Collection[jobs_pb2.JobItem],
        spec: jobs_pb2.JobSpec | None = None,
        *,
        timeout_s: float = CHAT_TIMEOUT_S,
    ) -> jobs_pb2.Job:
        """See ``Jobs.submit``."""
        spec, left_s = job_requests.named(spec), remaining_s(timeout_s)
        metadata = self._calls.caller.metadata(spec.request_id)

        def attempt() -> jobs_pb2.SubmitJobResponse:
            parts = job_requests.submission(spec, items)
            response: jobs_pb2.SubmitJobResponse = self._calls.stub.SubmitJob(
                parts, timeout=left_s(), metadata=metadata
            )
            return response

        return self._calls.attempts(attempt, timeout_s).job

    def get(self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S) -> jobs_pb2.Job:
        """See ``Jobs.get``."""
        response: jobs_pb2.GetJobResponse = self._calls.call("GetJob", jobs_pb2.GetJobRequest(id=job_id), timeout_s)
        return response.job

    def list(self, *, timeout_s: float = CALL_TIMEOUT_S) -> Generator[jobs_pb2.Job, None, None]:
        """See ``Jobs.list``."""
        request = jobs_pb2.ListJobsRequest(page_size=job_requests.PAGE_SIZE)
        while True:
            page: jobs_pb2.ListJobsResponse = self._calls.call("ListJobs", request, timeout_s)
            yield from page.jobs
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def cancel(self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S) -> jobs_pb2.Job:
        """See ``Jobs.cancel``."""
        response: jobs_pb2.CancelJobResponse = self._calls.call(
            "CancelJob", jobs_pb2.CancelJobRequest(id=job_id), timeout_s
        )
        return response.job

    def watch(self, job_id: str, *, timeout_s: float = WATCH_TIMEOUT_S) -> Generator[jobs_pb2.Job, None, None]:
        """See ``Jobs.watch``."""
        left_s = remaining_s(timeout_s)
        last: jobs_pb2.Job | None = None

        def begin() -> tuple[Generator[jobs_pb2.WatchJobResponse, None, None], jobs_pb2.WatchJobResponse]:
            told = self._watched(job_id, left_s())
            return told, next(told)

        while last is None or not last.HasField("end_time"):
            told, first = self._calls.attempts(begin, timeout_s)
            try:
                if first.job != last:
                    yield (last := first.job)
                for response in told:
                    yield (last := response.job)
            except grpc.RpcError as error:
                if not isinstance(broken := connection.told(error), UnavailableError):
                    raise broken from error
            finally:
                told.close()

    def results(self, job_id: str, *, timeout_s: float = CALL_TIMEOUT_S) -> Generator[jobs_pb2.ItemResult, None, None]:
        """See ``Jobs.results``."""
        request = jobs_pb2.ListJobResultsRequest(id=job_id, page_size=job_requests.PAGE_SIZE)
        while True:
            page: jobs_pb2.ListJobResultsResponse = self._calls.call("ListJobResults", request, timeout_s)
            yield from page.results
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def _watched(self, job_id: str, timeout_s: float) -> Generator[jobs_pb2.WatchJobResponse, None, None]:
        metadata = self._calls.caller.metadata("")
        call = self._calls.stub.WatchJob(jobs_pb2.WatchJobRequest(id=job_id), timeout=timeout_s, metadata=metadata)
        try:
            yield from call
        finally:
            call.cancel()
