"""Open jobs are kept going: queued, queued again, cancelled, expired, ended."""

from __future__ import annotations

import asyncio

import pytest

from gateway.jobs import keeping
from gateway.jobs.standing import Standing
from tests.unit.gateway.jobs.jobs_lab import (
    CANCELLED,
    COMPLETED,
    EXPIRED,
    FAILED,
    TENANT,
    JobsLab,
    counts,
    indices,
    job_item,
    job_items,
    result,
)
from trichord.jobs import layout
from trichord.v1 import gateway_pb2, jobs_pb2

HOUR_S = 3600


async def test_items_are_queued_once_each(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(100), priority=jobs_pb2.JOB_PRIORITY_LOW)
    await jobs.round()
    await jobs.round()
    taken = jobs.queue.take_all()
    assert indices(taken) == list(range(100))
    assert {one.topic for one in taken} == {"trichord.requests.low"}
    first = taken[0].item
    assert (first.tenant, first.job_id, first.deadline) == (TENANT, record.job.id, record.job.spec.deadline)
    assert first.item == job_items(1)[0]


async def test_neighbours_have_one_key_and_a_job_several(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(130))
    await jobs.round()
    keys = [one.key for one in jobs.queue.take_all()]
    assert keys == [f"{record.job.id}/{index // 64}" for index in range(130)]


async def test_a_large_item_stays_in_the_store(jobs: JobsLab) -> None:
    large = job_item("large", gateway_pb2.Part(image_bytes=bytes(2000)))
    await jobs.submit([*job_items(1), large])
    await jobs.round()
    small, other = jobs.queue.take_all()
    assert small.item.HasField("item")
    assert not other.item.HasField("item")


async def test_only_a_window_of_a_job_is_queued_at_once(jobs: JobsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "WINDOW_ITEMS", 20)
    monkeypatch.setattr(keeping, "REFILL_ITEMS", 5)
    record = await jobs.submit(job_items(50))
    await jobs.round()
    taken = jobs.queue.take_all()
    assert indices(taken) == list(range(20))
    await jobs.work(*taken[:4])
    await jobs.round()
    assert jobs.queue.messages == [], "a few are not worth reading a pack for"
    await jobs.work(taken[9])
    await jobs.round()
    assert indices(jobs.queue.take_all()) == [20, 21, 22, 23, 24]
    await jobs.work(*taken)
    await jobs.round()
    rest = jobs.queue.take_all()
    assert indices(rest) == list(range(25, 40))
    for index in range(20, 50):
        await jobs.records.put_result(TENANT, record.job.id, result(index))
    await jobs.round()
    assert (await jobs.job(record)).state == jobs_pb2.JOB_STATE_COMPLETED


async def test_a_job_ends_with_its_last_item(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(3))
    await jobs.round()
    taken = jobs.queue.take_all()
    await jobs.work(taken[0])
    await jobs.work(taken[1], state=FAILED)
    await jobs.round()
    running = await jobs.job(record)
    assert (running.state, counts(running)) == (jobs_pb2.JOB_STATE_RUNNING, {"total": 3, "completed": 1, "failed": 1})
    assert not running.HasField("end_time")
    await jobs.work(taken[2])
    await jobs.round()
    ended = await jobs.job(record)
    assert (ended.state, counts(ended)) == (jobs_pb2.JOB_STATE_COMPLETED, {"total": 3, "completed": 2, "failed": 1})
    assert ended.end_time.ToSeconds() > ended.create_time.ToSeconds()
    assert ended.usage.completion_tokens == 6
    assert [job async for job in jobs.records.open_jobs()] == []


async def test_what_the_queue_did_not_take_is_queued_later(jobs: JobsLab) -> None:
    await jobs.submit(job_items(10))
    jobs.queue.room = 4
    await jobs.round()
    assert indices(jobs.queue.messages) == [0, 1, 2, 3]
    jobs.queue.room = 100
    await jobs.round()
    assert indices(jobs.queue.messages) == list(range(10))


async def test_a_lost_queue_is_filled_again(jobs: JobsLab) -> None:
    await jobs.submit(job_items(10))
    await jobs.round()
    await jobs.work(*jobs.queue.take_all()[:4])
    await jobs.round()
    await jobs.round(59)
    assert jobs.queue.messages == [], "something ended less than a minute ago"
    await jobs.round(1)
    assert indices(jobs.queue.take_all()) == list(range(4, 10))


async def test_a_queue_that_is_empty_is_filled_again_soon(jobs: JobsLab) -> None:
    await jobs.submit(job_items(2))
    await jobs.round()
    jobs.queue.take_all()
    jobs.queue.empty_since = jobs.clock()
    await jobs.round(6)
    assert jobs.queue.messages == [], "it was empty when nothing had been put into it yet"
    jobs.queue.empty_since = jobs.clock()
    await jobs.round()
    assert indices(jobs.queue.take_all()) == [0, 1]


async def test_copies_become_rarer_as_long_as_nothing_comes_of_them(jobs: JobsLab) -> None:
    await jobs.submit(job_items(1))
    copies = []
    for minute in range(60):
        await jobs.round(60)
        copies += [minute] * len(jobs.queue.take_all())
    assert copies == [0, 1, 3, 7, 15, 31]


async def test_cancelling_ends_at_once_what_is_not_queued(jobs: JobsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "WINDOW_ITEMS", 3)
    monkeypatch.setattr(keeping, "REFILL_ITEMS", 1)
    record = await jobs.submit(job_items(8))
    await jobs.round()
    taken = jobs.queue.take_all()
    await jobs.records.cancel(TENANT, record.job.id)
    await jobs.round()
    cancelling = await jobs.job(record)
    assert (cancelling.state, counts(cancelling)) == (jobs_pb2.JOB_STATE_CANCELLING, {"total": 8, "cancelled": 5})
    await jobs.work(taken[1])
    await jobs.round(keeping.CANCEL_GRACE.total_seconds())
    ended = await jobs.job(record)
    assert (ended.state, counts(ended)) == (
        jobs_pb2.JOB_STATE_CANCELLED,
        {"total": 8, "completed": 1, "cancelled": 7},
    )
    kept = [one async for one in jobs.records.results(TENANT, record.job.id, range(8))]
    assert [one.custom_id for one in kept] == [f"item-{index}" for index in range(8)]
    assert {(one.state, one.error.code) for one in kept} == {(COMPLETED, ""), (CANCELLED, "CANCELLED")}


async def test_large_items_are_not_read_to_be_cancelled(jobs: JobsLab) -> None:
    large = job_item("large", gateway_pb2.Part(text="x" * 70_000))
    record = await jobs.submit([*job_items(1), large])
    lone = layout.lone_item(TENANT, record.job.id, record.upload, 1)
    await jobs.store.delete(lone)
    await jobs.records.cancel(TENANT, record.job.id)
    await jobs.round()
    results = [one async for one in jobs.records.results(TENANT, record.job.id, range(2))]
    assert [(one.custom_id, one.state) for one in results] == [("item-0", CANCELLED), ("large", CANCELLED)]


async def test_cancelling_does_not_wait_for_an_empty_queue(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(3))
    await jobs.round()
    await jobs.records.cancel(TENANT, record.job.id)
    await jobs.round()
    assert (await jobs.job(record)).state == jobs_pb2.JOB_STATE_CANCELLING
    jobs.queue.empty_since = jobs.clock()
    await jobs.round()
    assert counts(await jobs.job(record)) == {"total": 3, "cancelled": 3}


async def test_a_cancelled_job_all_of_which_was_answered_is_complete(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(2))
    await jobs.round()
    await jobs.work(*jobs.queue.take_all())
    await jobs.records.cancel(TENANT, record.job.id)
    await jobs.round()
    assert (await jobs.job(record)).state == jobs_pb2.JOB_STATE_COMPLETED


async def test_a_deadline_ends_what_is_left(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(4))
    await jobs.round()
    await jobs.work(jobs.queue.take_all()[2])
    await jobs.round(24 * HOUR_S)
    ended = await jobs.job(record)
    assert (ended.state, counts(ended)) == (jobs_pb2.JOB_STATE_EXPIRED, {"total": 4, "completed": 1, "expired": 3})
    result_1 = await jobs.records.result(TENANT, record.job.id, 1)
    assert result_1
    assert (result_1.state, result_1.error.code, result_1.request_id) == (
        EXPIRED,
        "DEADLINE_EXCEEDED",
        f"{record.job.id}-1",
    )


async def test_an_answer_that_came_unheard_is_not_cancelled(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(2))
    await jobs.round()
    await jobs.standing.tally(record)  # just listed: what comes now is not seen
    await jobs.work(jobs.queue.take_all()[0])
    await jobs.records.cancel(TENANT, record.job.id)
    jobs.queue.empty_since = jobs.clock.now.replace(year=2027)
    await jobs.keeper.round()
    assert counts(await jobs.job(record)) == {"total": 2, "completed": 1, "cancelled": 1}


async def test_after_a_restart_all_goes_on(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(4))
    await jobs.round()
    await jobs.work(*jobs.queue.take_all()[:3])
    await jobs.keeper.close()
    jobs.restart()
    await jobs.round()
    taken = jobs.queue.take_all()
    assert indices(taken) == [3]
    await jobs.work(*taken)
    await jobs.round()
    assert (await jobs.job(record)).state == jobs_pb2.JOB_STATE_COMPLETED


async def test_two_keepers_take_turns(jobs: JobsLab) -> None:
    await jobs.submit(job_items(2))
    await jobs.round()
    other = jobs.other_keeper(Standing(jobs.records, jobs.clock.seconds))
    await other.round()
    assert len(jobs.queue.messages) == 2
    await jobs.keeper.close()
    await other.round()
    assert indices(jobs.queue.messages) == [0, 1, 0, 1]


async def test_one_job_that_cannot_be_read_holds_up_no_other(jobs: JobsLab) -> None:
    broken = await jobs.submit(job_items(1), request_id="broken")
    await jobs.submit(job_items(2))
    prefix = f"jobs/{(await _folder(jobs))}/{broken.job.id}/"
    await jobs.store.put(prefix + "spec", b"\xff\xff")
    await jobs.round()
    assert indices(jobs.queue.messages) == [0, 1]


async def test_a_job_ends_whatever_the_store_lost_of_it(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(3))
    await jobs.store.delete_all(f"jobs/{await _folder(jobs)}/{record.job.id}/items/{record.upload}/")
    await jobs.round()
    assert jobs.queue.messages == []
    await jobs.round(24 * HOUR_S)
    assert counts(await jobs.job(record)) == {"total": 3, "expired": 3}


async def _folder(jobs: JobsLab) -> str:
    (folder,) = await jobs.store.folders("jobs/")
    return folder


async def test_keeping_outlives_a_fault(jobs: JobsLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.jobs.keeper.INTERVAL_S", 0.01)
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def broken() -> None:
        await rounds.put(None)
        raise ZeroDivisionError

    monkeypatch.setattr(jobs.keeper, "round", broken)
    jobs.keeper.start()
    for _ in range(2):
        await asyncio.wait_for(rounds.get(), 30)
    await jobs.keeper.close()
