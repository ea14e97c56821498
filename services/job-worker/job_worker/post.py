"""What a worker puts into the queue: items to be tried again, items given up, and what became of the others.

Each method returns once the queue has it all, and raises UnavailableError if that is not known: then it may be called
again, and whoever reads leaves out what comes twice.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from job_worker import results
from job_worker.verdict import LATER_S, SOON_S, Verdict
from job_worker.work import Work
from trichord.errors import TrichordError
from trichord.jobs.consumer import Delivery
from trichord.jobs.message import History, Message
from trichord.jobs.producer import QueueProducer
from trichord.jobs.topics import Topics
from trichord.v1 import jobs_pb2


class Post:
    """See the module."""

    def __init__(self, producer: QueueProducer, topics: Topics) -> None:
        self._producer, self._topics = producer, topics

    async def again(self, work: Work, verdict: Verdict, error: TrichordError) -> None:
        """An item failed and shall be tried again."""
        is_soon = verdict.step == "retry_soon"
        topic = self._topics.retry_5s if is_soon else self._topics.retry_60s
        not_before = datetime.now(UTC) + timedelta(seconds=SOON_S if is_soon else LATER_S)
        history = _history(work, verdict.attempts, error.code.name, error.message)
        await self._send(topic, work, replace(history, not_before=not_before))

    async def ended(self, work: Work, kept: jobs_pb2.ItemResult) -> None:
        """An item ended as the result says that was kept. The last thing told is that it ended."""
        queued = work.queued
        if kept.state == jobs_pb2.ITEM_STATE_COMPLETED:
            await self._producer.send(self._topics.usage, queued.tenant, Message(results.usage(work, kept)))
        if kept.state == jobs_pb2.ITEM_STATE_FAILED:
            history = _history(work, kept.attempts, kept.error.code, kept.error.message)
            await self._send(self._topics.dead_letters, work, history)
        await self._producer.send(self._topics.results, queued.job_id, Message(results.ended(work, kept)))

    async def put_aside(self, delivery: Delivery) -> None:
        """A message is no item, or nothing can be made of it: it is kept as it came."""
        await self._producer.send(self._topics.dead_letters, delivery.key, delivery.raw)

    async def _send(self, topic: str, work: Work, history: History) -> None:
        await self._producer.send(topic, work.queued.job_id, Message(work.queued, history))


def _history(work: Work, attempts: int, error_code: str, error_message: str) -> History:
    before = work.history
    return History(
        attempts=attempts,
        first_failure_time=before.first_failure_time or datetime.now(UTC),
        error_code=error_code,
        error_message=error_message,
        origin=before.origin or work.origin,
    )
