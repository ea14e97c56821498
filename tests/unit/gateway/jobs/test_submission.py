"""A job is taken whole or not at all: checked, its handles read, kept once however often it is sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.jobs.submission import ITEMS_AT_A_TIME
from tests.unit.gateway.jobs.jobs_lab import TENANT, JobsLab, each, job_item, job_items
from trichord.errors import AlreadyExistsError, NotFoundError, QuotaError, RequestError
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

TEXT = gateway_pb2.Part(text="hi")


async def kept_items(jobs: JobsLab, record: jobs_pb2.JobRecord) -> list[jobs_pb2.JobItem]:
    total = record.job.counts.total
    return [item async for _, item in jobs.records.items(record, range(total)) if item]


async def test_a_job_is_kept_with_all_of_its_items(jobs: JobsLab) -> None:
    items = job_items(130)
    record = await jobs.submit(items, request_id="night 7", priority=jobs_pb2.JOB_PRIORITY_HIGH, metadata={"a": "b"})
    assert await kept_items(jobs, record) == items
    job = await jobs.job(record)
    assert (job.state, job.counts.total, job.spec.metadata["a"]) == (jobs_pb2.JOB_STATE_QUEUED, 130, "b")
    assert job.create_time.ToDatetime(jobs.clock().tzinfo) < jobs.clock()


async def test_the_same_again_is_the_same_job(jobs: JobsLab) -> None:
    first = await jobs.submit(job_items(3), request_id="r")
    jobs.clock.move(8 * 24 * 3600)  # by now its deadline has passed
    again = await jobs.submit(job_items(3), request_id="r", deadline=first.job.spec.deadline)
    assert again == first
    assert len(await jobs.records.job_ids(TENANT, 10)) == 1


async def test_other_items_under_one_request_id_are_refused(jobs: JobsLab) -> None:
    first = await jobs.submit(job_items(3), request_id="r")
    for others in (job_items(2), job_items(4), job_items(3, "ho")):
        with pytest.raises(AlreadyExistsError) as refused:
            await jobs.submit(others, request_id="r")
        assert refused.value.field == "spec.request_id"
    assert await kept_items(jobs, first) == job_items(3)


async def test_without_a_request_id_each_is_a_job_of_its_own(jobs: JobsLab) -> None:
    ids = {(await jobs.submit(job_items(1))).job.id for _ in range(2)}
    assert len(ids) == 2


async def test_handles_become_bytes(jobs: JobsLab) -> None:
    given = job_item("a", TEXT, gateway_pb2.Part(media_handle="media-cat"), gateway_pb2.Part(media_handle="media-bell"))
    record = await jobs.submit([given, job_item("b", gateway_pb2.Part(image_bytes=b"own"))])
    jobs.handles.media.clear()
    first, second = await kept_items(jobs, record)
    assert [part.WhichOneof("part") for part in first.request.messages[0].parts] == [
        "text",
        "image_bytes",
        "audio_bytes",
    ]
    assert first.request.messages[0].parts[1].image_bytes == b"cat"
    assert second.request.messages[0].parts[0].image_bytes == b"own"


async def test_the_gateway_names_and_ranks_requests_itself(jobs: JobsLab) -> None:
    given = job_item("a", TEXT, request_id="mine\n", priority=decoder_pb2.PRIORITY_LIVE, model="m")
    (item,) = await kept_items(jobs, await jobs.submit([given]))
    assert (item.request.request_id, item.request.priority, item.request.model) == ("", 0, "m")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (job_item("item-1", TEXT), "items[3].custom_id"),
        (jobs_pb2.JobItem(custom_id="a"), "items[3].request.messages"),
        (
            job_item("a", TEXT, sampling=decoder_pb2.SamplingParams(temperature=9)),
            "items[3].request.sampling.temperature",
        ),
    ],
)
async def test_one_item_that_is_wrong_keeps_nothing(jobs: JobsLab, wrong: jobs_pb2.JobItem, field: str) -> None:
    with pytest.raises(RequestError) as refused:
        await jobs.submit([*job_items(3), wrong, *job_items(2)], request_id="r")
    assert refused.value.field == field
    assert await jobs.records.job_ids(TENANT, 10) == []
    await jobs.submit(job_items(1), request_id="r")  # the request id is still free


async def test_a_handle_that_is_not_there_is_told_by_its_place(jobs: JobsLab) -> None:
    gone = job_item("a", TEXT, gateway_pb2.Part(media_handle="media-gone"))
    with pytest.raises(NotFoundError) as refused:
        await jobs.submit([*job_items(1), gone])
    assert refused.value.field == "items[1].request.messages[0].parts[1].media_handle"


async def test_no_items_are_no_job(jobs: JobsLab) -> None:
    with pytest.raises(RequestError) as refused:
        await jobs.submit([])
    assert refused.value.field == "items"


async def test_another_tenants_request_ids_are_its_own(jobs: JobsLab) -> None:
    spec = jobs_pb2.JobSpec(request_id="r")
    ours = await jobs.submission.submit(TENANT, spec, each(job_items(1)))
    theirs = await jobs.submission.submit("other", spec, each(job_items(2)))
    assert ours.job.id != theirs.job.id
    with pytest.raises(NotFoundError):
        await jobs.standing.job(TENANT, theirs.job.id)


async def test_a_tenant_has_only_so_many_open_jobs(jobs: JobsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.jobs.submission.MAX_OPEN", 1)
    first = await jobs.submit(job_items(1), request_id="r")
    with pytest.raises(QuotaError) as refused:
        await jobs.submit(job_items(1))
    assert refused.value.quota == "jobs"
    assert await jobs.submit(job_items(1), request_id="r") == first
    await jobs.submission.submit("rival", jobs_pb2.JobSpec(), each(job_items(1)))
    await jobs.records.cancel(TENANT, first.job.id)
    await jobs.round()
    await jobs.submit(job_items(1))


async def test_a_long_submission_lets_others_have_their_turn(jobs: JobsLab) -> None:
    """Even when nothing of it has to be written."""
    await jobs.submit(job_items(200), request_id="r")
    turn, turns = 0, []

    async def others() -> None:
        nonlocal turn
        while True:
            await asyncio.sleep(0)
            turn += 1

    async def items() -> AsyncIterator[jobs_pb2.JobItem]:
        for item in job_items(200):
            turns.append(turn)
            yield item

    working = asyncio.create_task(others())
    await jobs.submission.submit(TENANT, jobs_pb2.JobSpec(request_id="r"), items())
    working.cancel()
    assert max(Counter(turns).values()) <= ITEMS_AT_A_TIME
