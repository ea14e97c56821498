"""JobService over real gRPC, with the gateway's own door before it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import grpc
import pytest

from gateway.identity.guard import ANONYMOUS
from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.opening import open_guard
from gateway.identity.settings import AuthSettings
from gateway.jobs import listing
from gateway.jobs.desk import Jobs
from gateway.jobs.service import JobService
from tests.unit.gateway.jobs.jobs_lab import JobsLab, job_items, result
from trichord import server
from trichord.client import OmniClient
from trichord.errors import AlreadyExistsError, FeatureOffError, NotFoundError, RequestError, UnavailableError
from trichord.jobs import layout
from trichord.settings import ServiceSettings
from trichord.status import from_rpc_error
from trichord.v1 import jobs_pb2, jobs_pb2_grpc


class Faces(NamedTuple):
    """A gateway's jobs, and ways in."""

    lab: JobsLab
    jobs: Jobs
    client: OmniClient
    stub: jobs_pb2_grpc.JobServiceAsyncStub


async def serving(jobs: Jobs | None) -> server.RunningServer:
    def register(grpc_server: grpc.aio.Server) -> list[str]:
        jobs_pb2_grpc.add_JobServiceServicer_to_server(JobService(jobs), grpc_server)
        return ["trichord.v1.JobService"]

    settings = ServiceSettings()
    return await server.start(
        register, settings, interceptors=[AuthInterceptor(open_guard(AuthSettings(), settings.listen))]
    )


@pytest.fixture
async def faces(jobs: JobsLab) -> AsyncIterator[Faces]:
    at_hand = Jobs(jobs.settings, jobs.store, jobs.records, jobs.submission, jobs.standing, jobs.keeper.wake)
    running = await serving(at_hand)
    target = f"127.0.0.1:{running.port}"
    async with OmniClient(target) as client, server.open_channel(target, 64 << 20) as channel:
        yield Faces(jobs, at_hand, client, jobs_pb2_grpc.JobServiceStub(channel))
    await running.server.stop(0)


async def test_from_submission_to_results(faces: Faces) -> None:
    jobs = faces.client.jobs
    job = await jobs.submit(job_items(5), jobs_pb2.JobSpec(request_id="r"))
    assert (job.state, job.counts.total, job.spec.request_id) == (jobs_pb2.JOB_STATE_QUEUED, 5, "r")
    assert await jobs.submit(job_items(5), jobs_pb2.JobSpec(request_id="r")) == job
    with pytest.raises(AlreadyExistsError):
        await jobs.submit(job_items(4), jobs_pb2.JobSpec(request_id="r"))
    await faces.lab.round()
    await faces.lab.work(*faces.lab.queue.take_all())
    await faces.lab.round()
    ended = await jobs.get(job.id)
    assert (ended.state, ended.counts.completed) == (jobs_pb2.JOB_STATE_COMPLETED, 5)
    assert [one.index async for one in jobs.results(job.id)] == list(range(5))
    assert [one.id async for one in jobs.list()] == [job.id]
    assert await jobs.cancel(job.id) == ended, "it has ended as it is"


async def test_a_watcher_sees_it_to_the_end(faces: Faces) -> None:
    lab, job = faces.lab, await faces.client.jobs.submit(job_items(3))
    seen: list[tuple[jobs_pb2.JobState, int]] = []
    async for now in faces.client.jobs.watch(job.id):
        seen.append((now.state, now.counts.completed))
        await lab.round()
        await lab.work(*lab.queue.take_all()[:3])
        await lab.round()
    assert seen[0] == (jobs_pb2.JOB_STATE_QUEUED, 0)
    assert seen[-1] == (jobs_pb2.JOB_STATE_COMPLETED, 3)
    assert len(set(seen)) == len(seen)


async def test_a_watcher_goes_on_elsewhere_when_a_gateway_is_about_to_end(faces: Faces) -> None:
    job = await faces.client.jobs.submit(job_items(3))
    call = faces.stub.WatchJob(jobs_pb2.WatchJobRequest(id=job.id))
    assert (await call.read()).job == job  # type: ignore[union-attr]
    faces.jobs.leaving.set()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(call.read(), 10)
    assert isinstance(from_rpc_error(refused.value, "gateway"), UnavailableError)


async def test_cancelling_twice_is_cancelling_once(faces: Faces) -> None:
    job = await faces.client.jobs.submit(job_items(3))
    assert (await faces.client.jobs.cancel(job.id)).state == jobs_pb2.JOB_STATE_CANCELLING
    assert (await faces.client.jobs.cancel(job.id)).state == jobs_pb2.JOB_STATE_CANCELLING
    await faces.lab.round()
    assert (await faces.client.jobs.get(job.id)).state == jobs_pb2.JOB_STATE_CANCELLED


async def test_jobs_are_told_newest_first_page_by_page(faces: Faces) -> None:
    ids = []
    for _ in range(5):
        ids.append((await faces.client.jobs.submit(job_items(1))).id)
        faces.lab.clock.move(1)
    pages, token = [], ""
    while not pages or token:
        page = await faces.stub.ListJobs(jobs_pb2.ListJobsRequest(page_size=2, page_token=token))
        pages.append([job.id for job in page.jobs])
        token = page.next_page_token
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


async def test_a_job_that_is_just_being_removed_holds_up_no_listing(faces: Faces) -> None:
    removed, kept = [await faces.client.jobs.submit(job_items(1)) for _ in range(2)]
    faces.jobs.standing.forget(removed.id)
    await faces.lab.store.delete(layout.spec(ANONYMOUS, removed.id))
    found = (await faces.stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
    assert [job.id for job in found] == [kept.id]


async def test_results_are_told_as_they_come(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, job = faces.lab, await faces.client.jobs.submit(job_items(6))
    for index in (4, 1, 3):
        await lab.records.put_result(ANONYMOUS, job.id, result(index))
    lab.clock.move(1)
    first = await faces.stub.ListJobResults(jobs_pb2.ListJobResultsRequest(id=job.id, page_size=2))
    assert [one.index for one in first.results] == [1, 3]
    rest = jobs_pb2.ListJobResultsRequest(id=job.id, page_token=first.next_page_token)
    assert [one.index for one in (await faces.stub.ListJobResults(rest)).results] == [4]
    monkeypatch.setattr(listing, "MAX_PAGE_BYTES", 1)
    short = await faces.stub.ListJobResults(jobs_pb2.ListJobResultsRequest(id=job.id))
    assert [one.index for one in short.results] == [1]
    assert [one.index async for one in faces.client.jobs.results(job.id)] == [1, 3, 4]


@pytest.mark.parametrize("job_id", ["", "job_x", "../../x", "job_" + "0" * 32])
async def test_what_is_no_job_is_not_found(faces: Faces, job_id: str) -> None:
    jobs = faces.client.jobs
    for call in (jobs.get(job_id), jobs.cancel(job_id), anext(jobs.watch(job_id)), anext(jobs.results(job_id))):
        with pytest.raises(NotFoundError) as refused:
            await call
        assert refused.value.field == "id"


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ([], "spec"),
        ([jobs_pb2.SubmitJobRequest()], "spec"),
        ([jobs_pb2.SubmitJobRequest(items=jobs_pb2.JobItems())], "spec"),
        ([jobs_pb2.SubmitJobRequest(spec=jobs_pb2.JobSpec())] * 2, "spec"),
        ([jobs_pb2.SubmitJobRequest(spec=jobs_pb2.JobSpec()), jobs_pb2.SubmitJobRequest()], "items"),
        ([jobs_pb2.SubmitJobRequest(spec=jobs_pb2.JobSpec())], "items"),
    ],
)
async def test_a_submission_is_a_spec_and_items(
    faces: Faces, parts: list[jobs_pb2.SubmitJobRequest], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await faces.stub.SubmitJob(iter(parts))
    error = from_rpc_error(refused.value, "gateway")
    assert isinstance(error, RequestError)
    assert error.field == field


async def test_who_leaves_in_the_middle_has_submitted_nothing(faces: Faces) -> None:
    call = faces.stub.SubmitJob()
    await call.write(jobs_pb2.SubmitJobRequest(spec=jobs_pb2.JobSpec(request_id="r")))
    await call.write(jobs_pb2.SubmitJobRequest(items=jobs_pb2.JobItems(items=job_items(2))))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.sleep(0.05)
    assert [job async for job in faces.client.jobs.list()] == []
    assert (await faces.client.jobs.submit(job_items(1), jobs_pb2.JobSpec(request_id="r"))).counts.total == 1


@pytest.mark.parametrize(
    ("page", "field"),
    [
        (jobs_pb2.ListJobsRequest(page_size=101), "page_size"),
        (jobs_pb2.ListJobsRequest(page_size=-1), "page_size"),
        (jobs_pb2.ListJobsRequest(page_token="é"), "page_token"),
        (jobs_pb2.ListJobsRequest(page_token="YWZ0ZXI6Li4vLi4="), "page_token"),
    ],
)
async def test_a_page_that_cannot_be(faces: Faces, page: jobs_pb2.ListJobsRequest, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await faces.stub.ListJobs(page)
    assert from_rpc_error(refused.value, "gateway").field == field


async def test_where_jobs_are_off_every_method_says_so() -> None:
    running = await serving(None)
    async with OmniClient(f"127.0.0.1:{running.port}") as client:
        jobs = client.jobs
        for call in (
            jobs.submit(job_items(1)),
            jobs.get("x"),
            jobs.cancel("x"),
            anext(jobs.watch("x")),
            anext(jobs.list()),
        ):
            with pytest.raises(FeatureOffError, match="TRICHORD_JOBS_STORE"):
                await call
    await running.server.stop(0)
