"""A gateway to call, real records in a real directory, and a queue that only notes what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from job_worker.settings import WorkerSettings
from job_worker.worker import Worker
from tests.gateway_lab import StubGateway
from trichord.client import user
from trichord.errors import RequestError
from trichord.jobs.job_records import JobRecords
from trichord.jobs.message import Encoded, History, Message, Origin
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import gateway_pb2, jobs_pb2

TENANT = "acme"
JOBS = JobsSettings(store="unused", kafka="unused")
TOPICS = Topics(JOBS)
HERE = Origin("trichord.requests.normal", 3, 17)
NONSENSE = Encoded(b"\xff", (("type", b"nonsense"),))
TRACEPARENT = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


@dataclass
class FakeProducer:
    """The queue: takes all, or raises what it is told to."""

    sent: list[tuple[str, str, Message | Encoded]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def send(self, topic: str, key: str, message: Message | Encoded) -> None:
        if self.failures:
            raise self.failures.pop()
        self.sent.append((topic, key, message))

    def bodies(self, topic: str) -> list[object]:
        return [message.body for there, _, message in self.sent if there == topic and isinstance(message, Message)]

    def only(self, topic: str) -> Message:
        """The one message of a topic."""
        (message,) = [message for there, _, message in self.sent if there == topic]
        assert isinstance(message, Message)
        return message


@dataclass
class FakeDelivery:
    """A message that came; None is one that cannot be read."""

    what: Message | None
    origin: Origin = HERE
    key: str = "key"
    is_done: bool = False
    is_revoked: bool = False
    raw: Encoded = NONSENSE
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def message(self) -> Message:
        if self.what is None:
            raise RequestError("It is none.", field="value")
        return self.what

    def done(self) -> None:
        self.is_done = True


@dataclass
class Bench:
    """A worker, and all that is around it."""

    worker: Worker
    records: JobRecords
    queue: FakeProducer
    gateway: StubGateway
    record: jobs_pb2.JobRecord
    another: Worker
    """Of the same queue and store."""

    def delivery(self, index: int = 0, **history: object) -> FakeDelivery:
        """Of an item of the job, small enough to be in its message."""
        return FakeDelivery(Message(self.queued(index), History(**history)))  # type: ignore[arg-type]

    def queued(self, index: int = 0) -> jobs_pb2.QueuedItem:
        return jobs_pb2.QueuedItem(
            tenant=TENANT,
            job_id=self.record.job.id,
            index=index,
            item=item(index),
            deadline=self.record.job.spec.deadline,
            traceparent=TRACEPARENT,
        )

    async def work(self, delivery: FakeDelivery) -> None:
        await asyncio.wait_for(self.worker.work(delivery), 30)  # type: ignore[arg-type]

    async def result(self, index: int = 0) -> jobs_pb2.ItemResult | None:
        return await self.records.result(TENANT, self.record.job.id, index)


def item(index: int) -> jobs_pb2.JobItem:
    request = gateway_pb2.ChatRequest(messages=[user(f"question {index}")])
    return jobs_pb2.JobItem(custom_id=f"my-{index}", request=request)


def settings_for(target: str, **changes: object) -> WorkerSettings:
    return WorkerSettings(**{"gateway": target, "instance": "test", **changes})  # type: ignore[arg-type]


async def keep(records: JobRecords, items: Sequence[jobs_pb2.JobItem], seconds: float = 60.0) -> jobs_pb2.JobRecord:
    """A job of these items."""
    now = datetime.now(UTC)
    spec = jobs_pb2.JobSpec(request_id=f"batch-{now.timestamp()}", priority=jobs_pb2.JOB_PRIORITY_NORMAL)
    spec.deadline.FromDatetime(now + timedelta(seconds=seconds))

    async def stream() -> AsyncIterator[jobs_pb2.JobItem]:
        for one in items:
            yield one

    return await records.keep(TENANT, spec, stream(), now)
