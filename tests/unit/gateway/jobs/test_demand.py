"""What gateways tell of jobs to whoever scales workers."""

from __future__ import annotations

from datetime import timedelta

from gateway.jobs.demand import STALE, demand
from gateway.jobs.lag import Measured
from gateway.jobs.standing import Standing
from tests.unit.gateway.jobs.jobs_lab import JobsLab, job_items
from trichord.demand import Demand, merge


def told(jobs: JobsLab, num_messages: int, num_workers: int = 1, age: timedelta = timedelta()) -> Demand | None:
    """Of one gateway whose last look at the queue was so long ago."""
    now = jobs.clock()
    return demand(Measured(now - age, num_messages, num_workers), jobs.keeper.kept, now)


async def test_no_jobs_are_no_demand(jobs: JobsLab) -> None:
    await jobs.round()
    assert told(jobs, 0, num_workers=0) == Demand(modality="worker")


async def test_all_that_is_left_counts_and_not_only_what_is_queued(jobs: JobsLab) -> None:
    await jobs.submit(job_items(700))
    await jobs.round()
    queued = jobs.queue.take_all()
    assert len(queued) < 700
    found = told(jobs, len(queued))
    assert found == Demand(modality="worker", queued_cost=700, queue_p95_ms=1000, num_ready_replicas=1)


async def test_done_is_done(jobs: JobsLab) -> None:
    await jobs.submit(job_items(10))
    await jobs.round()
    taken = jobs.queue.take_all()
    await jobs.work(*taken[:4])
    await jobs.round(59)
    found = told(jobs, 6)
    assert found
    assert (found.queued_cost, found.queue_p95_ms) == (6, 60_000)
    await jobs.work(*taken[4:])
    await jobs.round()
    assert told(jobs, 0) == Demand(modality="worker", num_ready_replicas=1)


async def test_messages_of_no_open_job_are_work_too(jobs: JobsLab) -> None:
    """A worker has to look at them to find that there is nothing to do."""
    found = told(jobs, 12)
    assert found
    assert (found.queued_cost, found.queue_p95_ms) == (12, 0)


async def test_a_queue_that_is_away_is_not_known(jobs: JobsLab) -> None:
    assert demand(None, jobs.keeper.kept, jobs.clock()) is None
    assert told(jobs, 0, age=STALE) is not None
    assert told(jobs, 0, age=STALE + timedelta(seconds=1)) is None


async def test_two_gateways_tell_of_one_queue(jobs: JobsLab) -> None:
    await jobs.submit(job_items(700))
    await jobs.round()
    other = jobs.other_keeper(Standing(jobs.records))
    await other.round()
    assert not other.kept, "it is not its turn"
    seconds = demand(Measured(jobs.clock(), 512, 1), other.kept, jobs.clock())
    mine = told(jobs, 512)
    assert mine
    assert seconds
    assert merge([mine, seconds])["worker"].queued_cost == 700
