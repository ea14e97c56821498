"""Whatever comes in whatever order, every item ends once, and the counts add up."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs import keeping
from tests.unit.gateway.jobs.jobs_lab import COMPLETED, FAILED, TENANT, JobsLab, Queued, job_items, result
from trichord.v1 import jobs_pb2

TOTAL = 13
STEPS = (
    "round",
    "quick round",
    "answer",
    "fail",
    "answer again",
    "lose queue",
    "queue away",
    "restart",
    "cancel",
    "hear",
    "wait",
    "long wait",
    "submit again",
    "another gateway",
)


class World:
    """A job, and all that may happen to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.jobs, self.random = JobsLab(folder), random.Random(seed)
        self.answered: list[Queued] = []
        self.kept: dict[int, bytes] = {}

    async def begin(self) -> None:
        self.record = await self.jobs.submit(job_items(TOTAL), request_id="r")

    async def step(self, name: str) -> None:
        doing: Callable[[], Coroutine[Any, Any, None]] = getattr(self, name.replace(" ", "_"))
        await doing()

    async def round(self) -> None:
        self.jobs.queue.room = 1000
        await self.jobs.round()

    async def quick_round(self) -> None:
        """Another before results are listed again."""
        await self.jobs.keeper.round()

    async def answer(self, state: jobs_pb2.ItemState = COMPLETED) -> None:
        """A worker takes some of what is queued, in any order."""
        some = self.random.sample(self.jobs.queue.messages, k=min(3, len(self.jobs.queue.messages)))
        self.jobs.queue.messages = [one for one in self.jobs.queue.messages if one not in some]
        self.answered += some
        await self.jobs.work(*some, state=state)

    async def fail(self) -> None:
        await self.answer(FAILED)

    async def answer_again(self) -> None:
        """What was done is delivered again, and comes out otherwise."""
        for one in self.answered:
            await self.jobs.records.put_result(TENANT, self.record.job.id, result(one.item.index, text="otherwise"))

    async def lose_queue(self) -> None:
        self.jobs.queue.take_all()

    async def queue_away(self) -> None:
        self.jobs.queue.room = self.random.randrange(3)
        await self.jobs.round()

    async def restart(self) -> None:
        self.jobs.restart()

    async def cancel(self) -> None:
        await self.jobs.records.cancel(TENANT, self.record.job.id)

    async def hear(self) -> None:
        for one in self.answered[-3:]:
            self.jobs.standing.ended(jobs_pb2.ItemEnded(job_id=self.record.job.id, index=one.item.index))

    async def wait(self) -> None:
        self.jobs.clock.move(70)

    async def long_wait(self) -> None:
        self.jobs.clock.move(13 * 3600)

    async def submit_again(self) -> None:
        assert await self.jobs.submit(job_items(TOTAL), request_id="r") == self.record

    async def another_gateway(self) -> None:
        await self.jobs.other_keeper(self.jobs.standing).round()

    async def check(self) -> None:
        """What may never be wrong."""
        job = await self.jobs.standing.job(TENANT, self.record.job.id)
        counts = job.counts
        num_ended = counts.completed + counts.failed + counts.cancelled + counts.expired
        assert counts.total == TOTAL
        assert 0 <= num_ended <= TOTAL
        assert job.HasField("end_time") <= (num_ended == TOTAL)
        listed = await self.jobs.records.result_indices(TENANT, self.record.job.id)
        assert num_ended <= len(listed)
        async for one in self.jobs.records.results(TENANT, self.record.job.id, sorted(listed)):
            assert self.kept.setdefault(one.index, one.SerializeToString(deterministic=True)) == one.SerializeToString(
                deterministic=True
            ), "a result was written twice"

    async def finish(self) -> jobs_pb2.Job:
        """Everything works from now on: the job ends."""
        for _ in range(40):
            await self.wait()
            await self.round()
            await self.jobs.work(*self.jobs.queue.take_all())
        return await self.jobs.standing.job(TENANT, self.record.job.id)


@given(steps=st.lists(st.sampled_from(STEPS), max_size=25), seed=st.integers(0, 1 << 32))
@hypothesis.settings(max_examples=30)
def test_counts_balance_whatever_happens(steps: list[str], seed: int) -> None:
    async def live(folder: Path) -> None:
        world = World(folder, seed)
        await world.begin()
        for step in steps:
            await world.step(step)
            await world.check()
        job = await world.finish()
        await world.check()
        assert job.HasField("end_time")
        counts = job.counts
        assert counts.completed + counts.failed + counts.cancelled + counts.expired == TOTAL == len(world.kept)
        states = [jobs_pb2.ItemResult.FromString(kept).state for kept in world.kept.values()]
        assert (states.count(COMPLETED), states.count(FAILED)) == (counts.completed, counts.failed)
        completed = [jobs_pb2.ItemResult.FromString(kept) for kept in world.kept.values()]
        assert job.usage.completion_tokens == sum(one.finished.usage.completion_tokens for one in completed)

    before = keeping.WINDOW_ITEMS, keeping.REFILL_ITEMS
    keeping.WINDOW_ITEMS, keeping.REFILL_ITEMS = 6, 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(live(Path(folder)))
    finally:
        keeping.WINDOW_ITEMS, keeping.REFILL_ITEMS = before
