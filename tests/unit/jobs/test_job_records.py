"""Jobs in a real directory: kept whole or not at all, and written once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from trichord.errors import ConflictError, NotFoundError, RequestError, UnavailableError
from trichord.jobs import layout
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import ObjectStore
from trichord.jobs.settings import JobsSettings
from trichord.v1 import gateway_pb2, jobs_pb2

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KB = 1024


def item(index: int, num_bytes: int = 10) -> jobs_pb2.JobItem:
    part = gateway_pb2.Part(text="x" * num_bytes)
    message = gateway_pb2.Message(parts=[part])
    return jobs_pb2.JobItem(custom_id=f"line-{index}", request=gateway_pb2.ChatRequest(messages=[message]))


async def stream(items: Sequence[jobs_pb2.JobItem]) -> AsyncIterator[jobs_pb2.JobItem]:
    for one in items:
        yield one


async def keep(
    records: JobRecords, items: Sequence[jobs_pb2.JobItem], request_id: str = "r", now: datetime = NOW
) -> jobs_pb2.JobRecord:
    return await records.keep("acme", jobs_pb2.JobSpec(request_id=request_id), stream(items), now, traceparent="tp")


async def keys(store: ObjectStore, prefix: str) -> list[str]:
    return sorted([found.key async for found in store.list(prefix)])


def result(index: int, text: str = "yes") -> jobs_pb2.ItemResult:
    return jobs_pb2.ItemResult(index=index, state=jobs_pb2.ITEM_STATE_COMPLETED, texts=[text])


async def test_a_job_is_there_as_it_was_submitted(records: JobRecords, store: ObjectStore) -> None:
    record = await keep(records, [item(n) for n in range(130)])
    assert record == await records.find("acme", record.job.id)
    assert record.job.counts.total == 130
    assert record.job.state == jobs_pb2.JOB_STATE_QUEUED
    assert record.job.create_time.ToDatetime(UTC) == NOW
    assert (record.tenant, record.traceparent) == ("acme", "tp")
    assert len(await keys(store, layout.items_prefix("acme", record.job.id, record.upload))) == 3
    assert [found async for found in records.items(record, range(130))] == [(n, item(n)) for n in range(130)]
    assert await records.item(record, 77) == item(77)


async def test_large_items_are_objects_of_their_own(records: JobRecords, store: ObjectStore) -> None:
    sizes = [10, 100 * KB, 60 * KB, 200 * KB, 10]
    kept = [item(n, size) for n, size in enumerate(sizes)]
    record = await keep(records, kept)
    names = await keys(store, layout.items_prefix("acme", record.job.id, record.upload))
    assert [name.rpartition("/")[2] for name in names] == ["000000", "000001.lone", "000003.lone"]
    assert [found async for _, found in records.items(record, range(5))] == kept
    small = [found async for _, found in records.items(record, range(5), max_bytes=50 * KB)]
    assert small == [kept[0], None, None, None, kept[4]]
    medium = [found async for _, found in records.items(record, range(5), max_bytes=150 * KB)]
    assert medium == [kept[0], kept[1], kept[2], None, kept[4]]


async def test_items_that_are_not_there_are_said_to_be(records: JobRecords, store: ObjectStore) -> None:
    record = await keep(records, [item(0), item(1, 100 * KB)])
    with pytest.raises(NotFoundError, match="Item 2"):
        await records.item(record, 2)
    await store.delete_all(layout.items_prefix("acme", record.job.id, record.upload))
    for index in (0, 1):
        with pytest.raises(NotFoundError):
            await records.item(record, index)


async def test_the_same_again_is_the_same_job(records: JobRecords, store: ObjectStore) -> None:
    record = await keep(records, [item(0), item(1)])
    before = await keys(store, "jobs/")
    assert await keep(records, [item(0), item(1)], now=NOW + timedelta(hours=1)) == record
    assert await keys(store, "jobs/") == before
    with pytest.raises(ConflictError, match="other items"):
        await keep(records, [item(0), item(2)])
    assert await keys(store, "jobs/") == before


async def test_of_submissions_at_once_one_makes_the_job(records: JobRecords, store: ObjectStore) -> None:
    items = [item(n, n * KB) for n in range(80)]
    made = await asyncio.gather(
        *(keep(records, items) for _ in range(5)), keep(records, items[1:]), return_exceptions=True
    )
    kept = [one for one in made if isinstance(one, jobs_pb2.JobRecord)]
    refused = [one for one in made if not isinstance(one, jobs_pb2.JobRecord)]
    assert kept
    assert refused
    assert all(record == kept[0] for record in kept)
    assert all(isinstance(error, ConflictError) for error in refused)
    uploads = {key.split("/")[4] for key in await keys(store, "jobs/") if "/items/" in key}
    assert uploads == {kept[0].upload}


async def test_a_submission_that_breaks_off_leaves_no_job(records: JobRecords, store: ObjectStore) -> None:
    async def broken() -> AsyncIterator[jobs_pb2.JobItem]:
        for n in range(100):
            yield item(n, 70 * KB if n % 30 == 0 else 10)
        raise RequestError("items[100] is wrong")

    with pytest.raises(RequestError, match=r"items\[100\]"):
        await records.keep("acme", jobs_pb2.JobSpec(request_id="r"), broken(), NOW)
    assert await keys(store, "jobs/") == []
    assert await records.find("acme", layout.job_id("acme", "r")) is None
    # What is left is the mark by which it can be seen to have never come to be.
    assert [(job.tenant, job.job_id) async for job in records.open_jobs()] == [("acme", layout.job_id("acme", "r"))]
    assert (await keep(records, [item(0)])).job.counts.total == 1


async def test_a_submission_that_was_thought_abandoned_makes_no_job(records: JobRecords, store: ObjectStore) -> None:
    async def slow() -> AsyncIterator[jobs_pb2.JobItem]:
        for n in range(100):
            yield item(n)
        await records.forget("acme", layout.job_id("acme", "r"))  # as the keeper does after an hour

    with pytest.raises(UnavailableError):
        await records.keep("acme", jobs_pb2.JobSpec(request_id="r"), slow(), NOW)
    assert await keys(store, "jobs/") == []


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([item(n) for n in range(201)], "items"),
        ([item(0), item(1, 1 << 20)], "items[1]"),
        ([item(n, 900 * KB) for n in range(5)], "items"),
    ],
)
async def test_limits_hold(records: JobRecords, store: ObjectStore, items: list[jobs_pb2.JobItem], field: str) -> None:
    with pytest.raises(RequestError) as raised:
        await keep(records, items)
    assert raised.value.field == field
    assert await keys(store, "jobs/") == []


async def test_a_tenant_sees_its_own_jobs(records: JobRecords) -> None:
    record = await keep(records, [item(0)])
    assert await records.find("other", record.job.id) is None
    assert await records.find("acme", "../../x") is None
    assert await records.job_ids("other", 10) == []


async def test_jobs_are_told_newest_first_page_by_page(records: JobRecords) -> None:
    made = [(await keep(records, [item(0)], f"r{n}", NOW + timedelta(seconds=n))).job.id for n in range(5)]
    first = await records.job_ids("acme", 2)
    second = await records.job_ids("acme", 2, first[-1][1])
    third = await records.job_ids("acme", 2, second[-1][1])
    assert [job for job, _ in first + second + third] == made[::-1]
    assert await records.job_ids("acme", 2, third[-1][1]) == []


async def test_a_result_is_written_once(records: JobRecords) -> None:
    assert await records.put_result("acme", "job", result(3))
    assert not await records.put_result("acme", "job", result(3, "no"))
    assert await records.result("acme", "job", 3) == result(3)
    assert await records.result("acme", "job", 4) is None
    assert await records.result_indices("acme", "job") == {3}


@pytest.mark.parametrize("torn", [b"", b"\xff" * 20, result(4).SerializeToString()])
async def test_a_torn_result_is_none_and_gives_way(records: JobRecords, store: ObjectStore, torn: bytes) -> None:
    await store.put(layout.result("acme", "job", 3), torn)
    assert await records.result("acme", "job", 3) is None
    assert await records.put_result("acme", "job", result(3))
    assert not await records.put_result("acme", "job", result(3, "no"))
    assert await records.result("acme", "job", 3) == result(3)


async def test_results_come_in_the_order_asked(records: JobRecords) -> None:
    for index in range(0, 60, 2):
        await records.put_result("acme", "job", result(index, str(index)))
    found = [one.index async for one in records.results("acme", "job", reversed(range(60)))]
    assert found == list(range(58, -1, -2))


async def test_results_that_cannot_be_read_are_an_error(records: JobRecords, store: ObjectStore) -> None:
    await records.put_result("acme", "job", result(0))
    broken = ObjectStore(store._inner)
    read = broken.get

    async def get(key: str, max_bytes: int) -> bytes | None:
        if key.endswith("20"):
            raise UnavailableError("away")
        return await read(key, max_bytes)

    broken.get = get  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        [one async for one in JobRecords(broken, JobsSettings()).results("acme", "job", range(40))]


async def test_a_job_ends_once(records: JobRecords) -> None:
    record = await keep(records, [item(0)])
    ended = jobs_pb2.Job(id=record.job.id, state=jobs_pb2.JOB_STATE_COMPLETED)
    assert await records.end("acme", record.job.id) is None
    assert [job.job_id async for job in records.open_jobs()] == [record.job.id]
    assert await records.put_end("acme", ended)
    assert not await records.put_end("acme", jobs_pb2.Job(id=record.job.id, state=jobs_pb2.JOB_STATE_EXPIRED))
    assert await records.end("acme", record.job.id) == ended
    assert [job async for job in records.open_jobs()] == []
    assert await keep(records, [item(0)]) == record
    assert [job async for job in records.open_jobs()] == []


async def test_cancelling_is_a_mark(records: JobRecords) -> None:
    assert not await records.is_cancelled("acme", "job")
    await records.cancel("acme", "job")
    await records.cancel("acme", "job")
    assert await records.is_cancelled("acme", "job")


async def test_what_is_forgotten_is_gone(records: JobRecords, store: ObjectStore) -> None:
    record = await keep(records, [item(0), item(1, 100 * KB)])
    await records.put_result("acme", record.job.id, result(0))
    await records.forget("acme", record.job.id, record.job.create_time.ToDatetime(UTC))
    assert [*await keys(store, "jobs/"), *await keys(store, "open/"), *await keys(store, "index/")] == []
    await records.forget("acme", record.job.id)
