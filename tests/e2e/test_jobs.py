"""A job through a real broker and worker processes that are killed: every item ends once, and is told of as it ended.

The gateway behind them answers at once what it is asked; what the cluster does with an item is tested elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaConsumer, TopicPartition

from tests.broker_lab import Broker, everything_in, running_broker
from tests.conftest import free_ports
from tests.e2e.media import png, wav
from tests.gateway_lab import Call, StubGateway, finished, running_gateway
from trichord.client import audio, image, user
from trichord.errors import MediaError, UnavailableError
from trichord.jobs.job_records import JobRecords
from trichord.jobs.message import Message
from trichord.jobs.objects import open_store
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics, ensure_topics
from trichord.v1 import gateway_pb2, jobs_pb2

TENANT = "acme"
NUM_ITEMS = 96
SOON_S = 60.0
CONCURRENCY = 4
SETTINGS = {
    "partitions": 3,
    "session_timeout_s": 2.0,
    "inline_item_bytes": 4096,
}


@dataclass
class Worker:
    """A process that works."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def kill(self) -> None:
        """As a machine that fails would."""
        self.process.kill()
        self.process.wait()

    async def is_ready(self) -> None:
        """Waits until its health says so."""
        async with asyncio.timeout(SOON_S), grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            async for health in stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True):
                if health.status == health_pb2.HealthCheckResponse.SERVING:
                    return

    async def ends(self) -> int:
        """Told to stop, it drains; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, SOON_S)


@dataclass
class Line:
    """A store, a queue, a gateway; and workers that come and go."""

    settings: JobsSettings
    gateway: StubGateway
    folder: Path
    records: JobRecords = field(init=False)
    topics: Topics = field(init=False)

    def __post_init__(self) -> None:
        self.records = JobRecords(open_store(self.settings.store), self.settings)
        self.topics = Topics(self.settings)

    async def submit(self, items: list[jobs_pb2.JobItem]) -> jobs_pb2.JobRecord:
        """Keeps a job, and queues it as the gateway does: what is large is not in its message."""
        now = datetime.now(UTC)
        spec = jobs_pb2.JobSpec(request_id="batch", priority=jobs_pb2.JOB_PRIORITY_NORMAL)
        spec.deadline.FromDatetime(now + timedelta(hours=1))

        async def stream() -> AsyncIterator[jobs_pb2.JobItem]:
            for item in items:
                yield item

        record = await self.records.keep(TENANT, spec, stream(), now)
        await self.queue(record, range(len(items)))
        return record

    async def queue(self, record: jobs_pb2.JobRecord, indices: range) -> None:
        producer, small = QueueProducer(self.settings), self.settings.inline_item_bytes
        async for index, item in self.records.items(record, indices, max_bytes=small):
            queued = jobs_pb2.QueuedItem(
                tenant=TENANT,
                job_id=record.job.id,
                index=index,
                item=item,
                deadline=record.job.spec.deadline,
            )
            await producer.send(self.topics.normal, f"{record.job.id}/{index % 7}", Message(queued))
        await producer.close()

    @contextlib.contextmanager
    def worker(self) -> Iterator[Worker]:
        """A process of its own."""
        port, log = free_ports(1), self.folder / f"worker-{len(list(self.folder.iterdir()))}.log"
        told = {
            **os.environ,
            "TRICHORD_JOBS_STORE": self.settings.store,
            "TRICHORD_JOBS_KAFKA": self.settings.kafka,
            **{f"TRICHORD_JOBS_{name.upper()}": str(value) for name, value in SETTINGS.items()},
            "TRICHORD_WORKER_GATEWAY": self.gateway.target,
            "TRICHORD_WORKER_LISTEN": f"127.0.0.1:{port}",
            "TRICHORD_WORKER_CONCURRENCY": str(CONCURRENCY),
            "TRICHORD_WORKER_INSTANCE": "worker-0",
        }
        with log.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-m", "job_worker"], env=told, stderr=file)
        worker = Worker(process, port, log)
        try:
            yield worker
        finally:
            worker.kill()

    async def ended(self, record: jobs_pb2.JobRecord) -> set[int]:
        return await self.records.result_indices(TENANT, record.job.id)

    async def has_ended(self, record: jobs_pb2.JobRecord, number: int) -> None:
        """Waits until so many items have a result."""
        async with asyncio.timeout(SOON_S):
            while len(await self.ended(record)) < number:  # noqa: ASYNC110 - another process works
                await asyncio.sleep(0.02)

    def read(self, topic: str) -> list[Message]:
        """All that was ever sent to a topic."""
        return everything_in(self.settings.kafka, topic)

    def committed(self) -> bool:
        """Whether nothing is left in the queue for workers."""
        consumer = KafkaConsumer(bootstrap_servers=self.settings.kafka, group_id="trichord.workers")
        try:
            places = [
                TopicPartition(topic, partition)
                for topic in self.topics.work
                for partition in consumer.partitions_for_topic(topic)
            ]
            ends = consumer.end_offsets(places)
            return all((consumer.committed(place) or 0) == end for place, end in ends.items())
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running_broker() as broker:
        yield broker


@pytest.fixture
async def line(broker: Broker, tmp_path: Path) -> AsyncIterator[Line]:
    (logs := tmp_path / "logs").mkdir()
    settings = JobsSettings(store=str(tmp_path / "store"), kafka=broker.address, **SETTINGS)
    await asyncio.to_thread(ensure_topics, settings)
    async with running_gateway() as gateway:
        yield Line(settings, gateway, logs)


def mixed(number: int) -> list[jobs_pb2.JobItem]:
    """Text, images and sounds, some too large for a message; every eighth is poison, a few fail at first."""
    extras = [[], [image(png(32, 32))], [audio(wav(0.1))], [image(png(256, 256)), audio(wav(1.0))]]
    items = []
    for index in range(number):
        kind = "poison" if index % 8 == 5 else "flaky" if index in range(3, number // 3, 12) else "plain"
        request = gateway_pb2.ChatRequest(messages=[user(f"{kind} {index}", *extras[index % 4])])
        items.append(jobs_pb2.JobItem(custom_id=f"my-{index}", request=request))
    return items


async def behave(call: Call) -> None:
    await asyncio.sleep(0.05)
    if call.text.startswith("poison"):
        raise MediaError("It is no image.", field="messages[0].parts[1].image_bytes")
    if call.text.startswith("flaky") and call.nth == 1:
        raise UnavailableError("The decoder is away.", retry_after_s=0.1)


async def test_a_worker_killed_twice_loses_nothing_and_does_nothing_twice_in_effect(line: Line) -> None:
    line.gateway.behave = behave
    items = mixed(NUM_ITEMS)
    record = await line.submit(items)
    for part in (0.25, 0.5):
        with line.worker():
            await line.has_ended(record, int(part * NUM_ITEMS))
    with line.worker() as last:
        await last.is_ready()
        await line.has_ended(record, NUM_ITEMS)
        assert await last.ends() == 0, last.log.read_text()
    assert line.committed()

    results = [one async for one in line.records.results(TENANT, record.job.id, range(NUM_ITEMS))]
    assert [(one.index, one.custom_id) for one in results] == [(i, f"my-{i}") for i in range(NUM_ITEMS)]
    poison = {index for index, item in enumerate(items) if "poison" in item.request.messages[0].parts[0].text}
    assert {one.index for one in results if one.state == jobs_pb2.ITEM_STATE_FAILED} == poison
    answered = [one for one in results if one.state == jobs_pb2.ITEM_STATE_COMPLETED]
    assert len(answered) + len(poison) == NUM_ITEMS
    for one in answered:
        text = items[one.index].request.messages[0].parts[0].text
        assert (one.texts, one.finished) == ([text[::-1]], finished(text))

    events = {event.request_id: event for event in bodies(line.read(line.topics.usage))}
    assert {(event.request_id, event.usage.SerializeToString()) for event in events.values()} == {
        (one.request_id, one.finished.usage.SerializeToString()) for one in answered
    }
    ended = {(end.index, end.state) for end in bodies(line.read(line.topics.results))}
    assert ended == {(one.index, one.state) for one in results}
    letters = line.read(line.topics.dead_letters)
    assert {letter.body.index for letter in letters} == poison
    assert {letter.history.error_code for letter in letters} == {"INVALID_ARGUMENT"}

    times = Counter(call.request.request_id for call in line.gateway.calls)
    assert len(times) == NUM_ITEMS
    again = sum(times.values()) - NUM_ITEMS - sum("flaky" in call.text and call.nth == 1 for call in line.gateway.calls)
    assert again <= 2 * 2 * CONCURRENCY  # what the killed ones had in hand


def bodies(messages: list[Message]) -> list[jobs_pb2.UsageEvent | jobs_pb2.ItemEnded]:
    """With those that are there twice: whoever reads leaves them out."""
    return [message.body for message in messages]
