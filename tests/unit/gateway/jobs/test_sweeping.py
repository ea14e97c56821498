"""What is kept no longer is removed, with all that belongs to it."""

from __future__ import annotations

from unittest.mock import ANY

from tests.unit.gateway.jobs.jobs_lab import TENANT, JobsLab, job_items
from trichord.jobs import layout
from trichord.v1 import jobs_pb2

DAY_S = 24 * 3600


async def ended(jobs: JobsLab) -> jobs_pb2.JobRecord:
    record = await jobs.submit(job_items(2))
    await jobs.round()
    await jobs.work(*jobs.queue.take_all())
    await jobs.round()
    return record


async def test_a_job_is_kept_for_days_after_its_end(jobs: JobsLab) -> None:
    first = await ended(jobs)
    await jobs.round(29 * DAY_S)
    second = await ended(jobs)
    assert len(await jobs.records.job_ids(TENANT, 9)) == 2
    await jobs.round(2 * DAY_S)
    assert [job_id for job_id, _ in await jobs.records.job_ids(TENANT, 9)] == [second.job.id]
    assert await jobs.records.find(TENANT, first.job.id) is None
    assert [info async for info in jobs.store.list(f"jobs/{await folder(jobs)}/{first.job.id}/")] == []
    assert (await jobs.job(second)).counts.completed == 2


async def test_what_an_interrupted_sweep_left_is_removed(jobs: JobsLab) -> None:
    first = await ended(jobs)
    await jobs.store.delete(f"jobs/{await folder(jobs)}/{first.job.id}/spec")
    await jobs.round(31 * DAY_S)
    assert await jobs.records.job_ids(TENANT, 9) == []
    assert [info async for info in jobs.store.list("jobs/")] == []


async def test_an_unreadable_record_holds_up_nobody(jobs: JobsLab) -> None:
    first, second = await ended(jobs), await ended(jobs)
    await jobs.store.put(layout.spec(TENANT, first.job.id), b"\xff")
    await jobs.round(31 * DAY_S)
    assert await jobs.records.job_ids(TENANT, 9) == [(first.job.id, ANY)]
    assert await jobs.records.find(TENANT, second.job.id) is None


async def test_an_old_job_without_an_end_stays(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(1))
    jobs.clock.move(31 * DAY_S)
    jobs.restart()
    broken = f"jobs/{await folder(jobs)}/{record.job.id}/items/"
    await jobs.store.delete_all(broken)
    await jobs.round(2 * 3600)
    assert await jobs.records.find(TENANT, record.job.id) is not None


async def folder(jobs: JobsLab) -> str:
    (name,) = await jobs.store.folders("jobs/")
    return name
