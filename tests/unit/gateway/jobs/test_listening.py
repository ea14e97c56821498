from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.jobs.listening import listen
from tests.unit.gateway.jobs.jobs_lab import JobsLab, counts, job_items
from trichord.errors import RequestError
from trichord.jobs.message import Message, Origin
from trichord.v1 import jobs_pb2

ORIGIN = Origin("results", 0, 0)


@dataclass
class Word:
    """A delivery of anything."""

    body: jobs_pb2.ItemEnded | jobs_pb2.QueuedItem | None
    origin: Origin = ORIGIN
    is_done: bool = False

    def message(self) -> Message:
        if self.body is None:
            raise RequestError("That is no message.")
        return Message(self.body)

    def done(self) -> None:
        self.is_done = True


async def spoken(words: Sequence[Word]) -> AsyncIterator[Word]:
    for word in words:
        yield word


async def test_word_of_an_item_is_where_to_look(jobs: JobsLab) -> None:
    record = await jobs.submit(job_items(3))
    await jobs.round()
    await jobs.work(*jobs.queue.take_all()[:2])
    assert counts(await jobs.standing.job(record.tenant, record.job.id)) == {"total": 3}, "listed a moment ago"
    woken: list[None] = []
    mine = jobs_pb2.ItemEnded(tenant=record.tenant, job_id=record.job.id, index=1)
    strangers = jobs_pb2.ItemEnded(tenant="x", job_id="job_" + "0" * 32, index=1)
    lies = jobs_pb2.ItemEnded(tenant=record.tenant, job_id=record.job.id, index=2)
    nowhere = jobs_pb2.ItemEnded(tenant=record.tenant, job_id=record.job.id, index=99)
    words = [Word(None), Word(jobs_pb2.QueuedItem()), Word(mine), Word(strangers), Word(lies), Word(nowhere)]
    await listen(spoken(words), jobs.standing, lambda: woken.append(None))  # type: ignore[arg-type]
    assert all(word.is_done for word in words)
    assert len(woken) == 3
    job = await jobs.standing.job(record.tenant, record.job.id)
    assert counts(job) == {"total": 3, "completed": 1}, "what was told of, as far as it is there"
