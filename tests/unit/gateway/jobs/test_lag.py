"""What waits in the queue, measured at a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from datetime import UTC, datetime

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError
from kafka.structs import OffsetAndMetadata
from prometheus_client import REGISTRY

from gateway.jobs.lag import Lag
from tests.broker_lab import running_broker
from trichord.errors import UnavailableError
from trichord.jobs.settings import JobsSettings

BEFORE = datetime(2026, 1, 1, tzinfo=UTC)


def queued(topic: str) -> float | None:
    return REGISTRY.get_sample_value("trichord_jobs_queued_messages", {"topic": topic})


# kafka-python leaves sockets whose connecting failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_what_no_worker_has_done_waits() -> None:
    with running_broker() as broker:
        settings = JobsSettings(store="set", kafka=broker.address, partitions=2)
        lag = Lag(settings)
        await lag.measure()  # makes the topics
        assert queued("requests.high") == queued("requests.retry.5s") == 0
        assert lag.newest
        assert lag.newest[1:] == (0, 0)
        assert lag.was_empty_after(BEFORE)
        filled = datetime.now(UTC)
        with KafkaProducer(bootstrap_servers=broker.address) as producer:
            for number in range(5):
                producer.send("trichord.requests.high", b"x", partition=number % 2).get(10)
        await lag.measure()
        assert (queued("requests.high"), queued("requests.low")) == (5, 0)
        assert not lag.was_empty_after(filled)
        with KafkaConsumer(
            bootstrap_servers=broker.address, group_id="trichord.workers", enable_auto_commit=False
        ) as consumer:
            partition = TopicPartition("trichord.requests.high", 0)
            consumer.assign([partition])
            consumer.commit({partition: OffsetAndMetadata(2, "", -1)})
        await lag.measure()
        assert queued("requests.high") == lag.newest.num_messages == 3
        broker.stop()
        with contextlib.suppress(UnavailableError):
            await lag.measure()
            raise AssertionError("there is no queue")
        broker.start()
        await lag.measure()
        assert queued("requests.high") == 0
        assert lag.was_empty_after(filled), "it was restarted empty"
        await lag.close()
    gc.collect()


def test_no_end_waits_for_a_queue_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even that of the loop, which waits for its own threads."""
    asked, may_answer = threading.Event(), threading.Event()

    class Silent:
        def __init__(self, **_: object) -> None:
            asked.set()
            may_answer.wait(10)
            raise KafkaTimeoutError

    monkeypatch.setattr("gateway.jobs.lag._Admin", Silent)

    async def look() -> None:
        lag = Lag(JobsSettings(store="set", kafka="127.0.0.1:1"))
        lag.start()
        await asyncio.to_thread(asked.wait, 10)
        await lag.close()

    asyncio.run(look())
    looking = [thread for thread in threading.enumerate() if thread.name == "measure the queue"]
    may_answer.set()
    assert looking, "the end waited for it"
    for thread in looking:
        thread.join(10)


async def test_measuring_outlives_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.jobs.lag.INTERVAL_S", 0.01)
    measured: asyncio.Queue[None] = asyncio.Queue()
    lag = Lag(JobsSettings(store="set", kafka="127.0.0.1:1"))

    async def broken() -> None:
        await measured.put(None)
        raise KeyError("a broker told of something odd")

    monkeypatch.setattr(lag, "measure", broken)
    lag.start()
    for _ in range(2):
        await asyncio.wait_for(measured.get(), 30)
    await lag.close()


async def test_workers_are_members_of_their_group() -> None:
    with running_broker() as broker:
        lag = Lag(JobsSettings(store="set", kafka=broker.address, partitions=2))
        await lag.measure()
        with KafkaConsumer(
            "trichord.requests.high",
            bootstrap_servers=broker.address,
            group_id="trichord.workers",
            enable_auto_commit=False,
            session_timeout_ms=2_000,
            heartbeat_interval_ms=500,
        ) as consumer:
            await asyncio.wait_for(asyncio.to_thread(_joined, consumer), 60)
            await lag.measure()
            assert lag.newest
            assert lag.newest.num_workers == 1
            assert REGISTRY.get_sample_value("trichord_jobs_workers") == 1
        await lag.close()


def _joined(consumer: KafkaConsumer) -> None:
    while not consumer.assignment():
        consumer.poll(200)
