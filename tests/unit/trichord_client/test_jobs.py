"""Jobs of both clients, against a service that does what the test tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from tests.unit.trichord_client.both import Client
from trichord import server
from trichord.client import RetryPolicy, job_item, job_requests, user
from trichord.errors import AlreadyExistsError, NotFoundError, RequestError, UnavailableError
from trichord.settings import ServiceSettings
from trichord.v1 import gateway_pb2, jobs_pb2, jobs_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
QUICK = RetryPolicy(jitter_s=0.001)
RUNNING, COMPLETED = jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_COMPLETED


def job(state: jobs_pb2.JobState = RUNNING, completed: int = 0) -> jobs_pb2.Job:
    made = jobs_pb2.Job(id="job_1", state=state, counts=jobs_pb2.JobCounts(total=9, completed=completed))
    if state == COMPLETED:
        made.end_time.FromSeconds(1)
    return made


def items(count: int, size: int = 1) -> list[jobs_pb2.JobItem]:
    request = gateway_pb2.ChatRequest(messages=[gateway_pb2.Message(parts=[gateway_pb2.Part(text="x" * size)])])
    return [jobs_pb2.JobItem(custom_id=f"c{index}", request=request) for index in range(count)]


class ScriptedJobs(jobs_pb2_grpc.JobServiceServicer):
    """Notes what comes; ``script`` is what the next calls of WatchJob do, one list each."""

    def __init__(self) -> None:
        self.submissions: list[list[jobs_pb2.SubmitJobRequest]] = []
        self.failures: deque[Exception] = deque()
        self.script: deque[list[jobs_pb2.Job | Exception]] = deque()
        self.ids: list[str] = []

    async def SubmitJob(
        self, requests: AsyncIterator[jobs_pb2.SubmitJobRequest], context: Context
    ) -> jobs_pb2.SubmitJobResponse:
        self.submissions.append([request async for request in requests])
        if self.failures:
            raise self.failures.popleft()
        return jobs_pb2.SubmitJobResponse(job=job())

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Context) -> jobs_pb2.GetJobResponse:
        if request.id != "job_1":
            raise NotFoundError("There is no such job.", field="id")
        return jobs_pb2.GetJobResponse(job=job())

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Context) -> jobs_pb2.ListJobsResponse:
        first = int(request.page_token or 0)
        page = [jobs_pb2.Job(id=f"job_{index}") for index in range(first, min(first + request.page_size, 250))]
        return jobs_pb2.ListJobsResponse(jobs=page, next_page_token=str(first + 100) if first < 200 else "")

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Context) -> jobs_pb2.CancelJobResponse:
        self.ids.append(request.id)
        return jobs_pb2.CancelJobResponse(job=job(jobs_pb2.JOB_STATE_CANCELLING))

    async def WatchJob(
        self, request: jobs_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        for step in self.script.popleft():
            if isinstance(step, Exception):
                raise step
            yield jobs_pb2.WatchJobResponse(job=step)

    async def ListJobResults(
        self, request: jobs_pb2.ListJobResultsRequest, context: Context
    ) -> jobs_pb2.ListJobResultsResponse:
        first = int(request.page_token or 0)
        page = [jobs_pb2.ItemResult(index=index) for index in range(first, min(first + request.page_size, 150))]
        return jobs_pb2.ListJobResultsResponse(results=page, next_page_token="100" if not first else "")

    def register(self, grpc_server: grpc.aio.Server) -> list[str]:
        jobs_pb2_grpc.add_JobServiceServicer_to_server(self, grpc_server)
        return ["trichord.v1.JobService"]


@pytest.fixture
def service() -> ScriptedJobs:
    return ScriptedJobs()


@pytest.fixture
async def jobs(service: ScriptedJobs, connect: Callable[..., Client]) -> AsyncIterator[Any]:
    running = await server.start(service.register, ServiceSettings())
    yield connect(f"127.0.0.1:{running.port}", retries=QUICK).jobs
    await running.server.stop(0)


def test_an_item_is_a_request_with_a_name() -> None:
    made = job_item("scan-1", [user("hi")], max_tokens=3)
    assert (made.custom_id, made.request.sampling.max_tokens) == ("scan-1", 3)
    assert made.request.messages[0].parts[0].text == "hi"


async def test_a_submission_is_cut_into_messages_of_bounded_size(jobs: Any, service: ScriptedJobs) -> None:
    sent = [*items(3), *items(1, 3 * job_requests.MAX_PART_BYTES), *items(5, job_requests.MAX_PART_BYTES // 2)]
    assert (await jobs.submit(sent, jobs_pb2.JobSpec(request_id="r"))).id == "job_1"
    (parts,) = service.submissions
    assert parts[0].spec.request_id == "r"
    assert [len(part.items.items) for part in parts[1:]] == [3, 1, 1, 1, 1, 1, 1]
    assert [item for part in parts[1:] for item in part.items.items] == sent


async def test_an_attempt_again_is_the_same_submission(jobs: Any, service: ScriptedJobs) -> None:
    service.failures.append(UnavailableError("Not now.", retry_after_s=0.0))
    await jobs.submit(items(2))
    first, second = service.submissions
    assert first == second
    assert first[0].spec.request_id.startswith("job-")
    await jobs.submit(items(2))
    assert service.submissions[2][0].spec.request_id != first[0].spec.request_id


@pytest.mark.parametrize("error", [RequestError("No.", field="items[0]"), AlreadyExistsError("No.", field="spec")])
async def test_a_refusal_is_told_and_not_tried_again(jobs: Any, service: ScriptedJobs, error: Exception) -> None:
    service.failures.append(error)
    with pytest.raises(type(error)) as refused:
        await jobs.submit(items(1))
    assert refused.value.field == error.field  # type: ignore[attr-defined]
    assert len(service.submissions) == 1


async def test_get_and_cancel(jobs: Any, service: ScriptedJobs) -> None:
    assert (await jobs.get("job_1")).counts.total == 9
    with pytest.raises(NotFoundError):
        await jobs.get("job_2")
    assert (await jobs.cancel("job_1")).state == jobs_pb2.JOB_STATE_CANCELLING
    assert service.ids == ["job_1"]


async def test_pages_are_one_list(jobs: Any) -> None:
    assert [one.id for one in await jobs.list()] == [f"job_{index}" for index in range(250)]
    assert [one.index for one in await jobs.results("job_1")] == list(range(150))


async def test_watching_outlives_a_gateway(jobs: Any, service: ScriptedJobs) -> None:
    gone = UnavailableError("Stopping.", retry_after_s=0.0)
    service.script += [
        [gone],
        [job(), job(completed=1), gone],
        [job(completed=1), job(completed=2), gone],
        [job(COMPLETED, 9)],
    ]
    seen = await jobs.watch("job_1")
    assert [one.counts.completed for one in seen] == [0, 1, 2, 9]
    assert not service.script


async def test_watching_what_is_not_there_ends(jobs: Any, service: ScriptedJobs) -> None:
    service.script += [[NotFoundError("There is no such job.", field="id")], [job(), NotFoundError("Gone.")]]
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await jobs.watch("job_1")
