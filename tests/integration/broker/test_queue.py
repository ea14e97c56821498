"""Producer and consumer against a real broker: order, commits, rebalances, and a broker that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from tests.broker_lab import running_broker
from trichord.errors import OverloadedError, RequestError, UnavailableError
from trichord.jobs import consumer as consumer_module
from trichord.jobs.connection import client_options, connect
from trichord.jobs.consumer import Delivery, QueueConsumer
from trichord.jobs.message import Encoded, History, Message, body_as
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics, ensure_topics, topic_ids
from trichord.v1 import jobs_pb2

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

PATIENCE_S = 60
GROUP = "workers"

MakeSettings = Callable[..., JobsSettings]


def message(index: int, history: History = History()) -> Message:  # noqa: B008  # immutable
    return Message(jobs_pb2.QueuedItem(tenant="acme", job_id="job", index=index), history)


def index_of(delivery: Delivery) -> int:
    return body_as(delivery.message(), jobs_pb2.QueuedItem).index


async def take(consumer: QueueConsumer, count: int) -> list[Delivery]:
    async with asyncio.timeout(PATIENCE_S):
        return [await anext(consumer) for _ in range(count)]


@contextlib.asynccontextmanager
async def producing(settings: JobsSettings) -> AsyncIterator[QueueProducer]:
    producer = QueueProducer(settings)
    try:
        yield producer
    finally:
        await producer.close()


async def send_until_taken(producer: QueueProducer, topic: str, index: int) -> None:
    """As those do who must: a broker that forgot its producers refuses the first."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(UnavailableError):
                return await producer.send(topic, "key", message(index))
            await asyncio.sleep(0.2)


def of_queue() -> set[threading.Thread]:
    """All threads that kafka-python or we began."""
    return {thread for thread in threading.enumerate() if "queue" in thread.name or "kafka" in thread.name}


def test_who_finds_no_broker_leaves_nothing_running() -> None:
    others, settings = of_queue(), JobsSettings(kafka="127.0.0.1:1", send_timeout_s=0.1)
    for ask in (ensure_topics, lambda told: topic_ids(told, ["topic"])):
        with pytest.raises(UnavailableError):
            ask(settings)
    with pytest.raises(KafkaError):
        connect(KafkaConsumer, client_options(settings, "test"))
    assert of_queue() <= others


def test_topics_are_made_once(make_settings: MakeSettings) -> None:
    settings = make_settings(topic_prefix="made.", partitions=5)
    topics = Topics(settings)
    assert ensure_topics(settings) == [topic.name for topic in topics.all]
    assert ensure_topics(settings) == []
    admin = KafkaAdminClient(**client_options(settings, "test"))
    try:
        found = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics([*topics.work])}
    finally:
        admin.close()
    assert found == dict.fromkeys(topics.work, 5)


async def test_messages_come_once_each_in_the_order_of_their_keys_and_the_urgent_first(
    make_settings: MakeSettings,
) -> None:
    settings = make_settings()
    topics = Topics(settings)
    keys = [f"job-{n % 7}" for n in range(500)]
    async with producing(settings) as producer:
        await asyncio.gather(*(producer.send(topics.low, key, message(n)) for n, key in enumerate(keys)))
        await asyncio.gather(*(producer.send(topics.high, "urgent", message(n)) for n in range(500, 510)))
    async with QueueConsumer(settings, GROUP, topics.work) as consumer:
        assert not consumer.is_connected
        first = await take(consumer, 1)
        assert consumer.is_connected
        deliveries = first + await _work_off(consumer, 509)
    assert sorted(map(index_of, deliveries)) == list(range(510))
    by_key: dict[str, list[int]] = {}
    for delivery in deliveries:
        by_key.setdefault(delivery.key, []).append(index_of(delivery))
    assert all(indices == sorted(indices) for indices in by_key.values())
    assert set(by_key) == {*keys, "urgent"}
    urgent = [place for place, delivery in enumerate(deliveries) if delivery.key == "urgent"]
    assert max(urgent) < 100  # all were fetched with the first of the others, or soon after


async def _work_off(consumer: QueueConsumer, count: int) -> list[Delivery]:
    done = []
    for _ in range(count):
        done += await take(consumer, 1)
        done[-1].done()
    return done


async def test_what_is_done_does_not_come_again_and_what_is_not_does(make_settings: MakeSettings) -> None:
    settings = make_settings(partitions=1)
    topics = Topics(settings)
    began = datetime.now(UTC)
    poison = Encoded(b"\xff", (("type", b"of another system"),))
    async with (
        producing(settings) as producer,
        QueueConsumer(settings, GROUP, topics.work, max_in_progress=20) as consumer,
    ):
        for n in range(10):
            await producer.send(topics.normal, "key", message(n))
        await producer.send(topics.normal, "", poison)
        deliveries = await take(consumer, 11)
        held_back = History(attempts=1, not_before=datetime.now(UTC) + timedelta(seconds=3))
        await producer.send(topics.retry_5s, "key", message(99, held_back))
        deliveries += await take(consumer, 1)
        assert [index_of(delivery) for delivery in deliveries[:10]] == list(range(10))
        with pytest.raises(RequestError):
            deliveries[10].message()
        assert (deliveries[10].raw, deliveries[10].key) == (poison, "")
        assert index_of(deliveries[11]) == 99
        assert deliveries[11].message().history == held_back
        assert held_back.not_before
        assert datetime.now(UTC) >= held_back.not_before
        assert all(abs(delivery.time - began) < timedelta(seconds=PATIENCE_S) for delivery in deliveries)
        for place in (0, 1, 2, 5, 11):
            deliveries[place].done()
    async with QueueConsumer(settings, GROUP, topics.work, max_in_progress=20) as consumer:
        again = await take(consumer, 8)
        assert [delivery.origin.offset for delivery in again] == list(range(3, 11))
        assert {delivery.origin.topic for delivery in again} == {topics.normal}


async def test_work_moves_to_a_second_worker_and_back_and_none_is_lost(make_settings: MakeSettings) -> None:
    settings = make_settings()
    topics = Topics(settings)
    taken, workers = Counter[int](), Counter[str]()

    async def work(name: str, consumer: QueueConsumer) -> None:
        async for delivery in consumer:
            await asyncio.sleep(0.02)
            taken[index_of(delivery)] += 1
            workers[name] += 1
            delivery.done()

    async with producing(settings) as producer, QueueConsumer(settings, GROUP, topics.work, max_in_progress=4) as first:
        for n in range(100):
            await producer.send(topics.normal, f"job-{n}", message(n))
        tasks = [asyncio.create_task(work("first", first))]
        async with (
            asyncio.timeout(PATIENCE_S),
            QueueConsumer(settings, GROUP, topics.work, max_in_progress=4) as second,
        ):
            tasks.append(asyncio.create_task(work("second", second)))
            index = 100
            while workers["second"] < 20:
                await producer.send(topics.normal, f"job-{index}", message(index))
                index += 1
        for _ in range(50):
            await producer.send(topics.normal, f"job-{index}", message(index))
            index += 1
        async with asyncio.timeout(PATIENCE_S):
            while len(taken) < index:  # noqa: ASYNC110  # counts are told by no event
                await asyncio.sleep(0.05)
    await asyncio.gather(*tasks)
    assert set(taken) == set(range(index))
    assert sum(taken.values()) - index <= 2 * 4 * 2  # what was in progress when partitions moved


async def test_who_listens_from_the_end_hears_no_old_news(make_settings: MakeSettings) -> None:
    settings = make_settings(partitions=1)
    topic = Topics(settings).results
    async with producing(settings) as producer:
        await producer.send(topic, "key", message(0))
        async with QueueConsumer(settings, "listener", [topic], from_end=True) as consumer:
            first = asyncio.create_task(take(consumer, 1))
            index = 1
            while not first.done():
                await asyncio.sleep(0.1)
                if consumer.is_connected:
                    await producer.send(topic, "key", message(index))
                    index += 1
    assert index_of(first.result()[0]) > 0


async def test_a_broker_that_comes_back_empty_is_used_again() -> None:
    with running_broker() as broker:
        settings = JobsSettings(kafka=broker.address, partitions=3, session_timeout_s=2)
        topics = Topics(settings)
        async with producing(settings) as producer, QueueConsumer(settings, topics.workers, topics.work) as consumer:
            for number in range(30):
                await producer.send(topics.normal, f"key {number}", message(0))
            await _work_off(consumer, 30)
            broker.restart()
            await send_until_taken(producer, topics.normal, 2)
            (delivery,) = await take(consumer, 1)
            assert index_of(delivery) == 2
            delivery.done()
            broker.stop()
            with pytest.raises(UnavailableError):
                await producer.send(topics.normal, "key", message(3))
            broker.start()
            await send_until_taken(producer, topics.normal, 4)
            assert [index_of(delivery) for delivery in await take(consumer, 1)] == [4]
        assert set(committed(settings, topics.normal)) <= {-1, 0, 1}, "no offset of a queue that is gone"


def committed(settings: JobsSettings, topic: str) -> list[int]:
    """Of the workers, in each partition."""
    places = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
    admin = KafkaAdminClient(**client_options(settings, "test"))
    try:
        group = Topics(settings).workers
        return [told.offset for told in admin.list_group_offsets({group: places})[group].values()]
    finally:
        admin.close()


async def test_without_a_broker_a_send_ends_in_time_and_holds_nothing_up() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        settings = JobsSettings(kafka=f"127.0.0.1:{taken.getsockname()[1]}", send_timeout_s=1, max_queued_messages=3)
        producer = QueueProducer(settings)
        turns = 0

        async def turning() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        ticker = asyncio.create_task(turning())
        sent = [asyncio.create_task(producer.send("topic", "key", message(n))) for n in range(5)]
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        ticker.cancel()
        assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3 + [OverloadedError] * 2
        assert all("127.0.0.1" not in str(outcome) for outcome in outcomes)
        assert turns > 10
        async with QueueConsumer(settings, GROUP, ["topic"]) as consumer:
            assert not consumer.is_connected
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)
        await producer.close()
        await producer.close()
        with pytest.raises(UnavailableError):
            await producer.send("topic", "key", message(0))


async def test_a_broker_that_hangs_holds_up_no_end() -> None:
    others = of_queue()
    with running_broker() as broker:
        settings = JobsSettings(kafka=broker.address, partitions=3, session_timeout_s=1, send_timeout_s=120)
        topic = Topics(settings).normal
        producer, consumer = QueueProducer(settings), QueueConsumer(settings, GROUP, [topic])
        await consumer.start()
        await producer.send(topic, "key", message(1))
        (delivery,) = await take(consumer, 1)
        broker.pause()
        delivery.done()
        sent = [asyncio.create_task(producer.send(topic, "key", message(n))) for n in range(3)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(producer.close(), consumer.close())
            while of_queue() - others:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        ends = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(end) for end in ends] == [UnavailableError] * 3  # and not after two minutes


async def test_a_bug_in_the_client_does_not_end_the_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[JobsSettings] = []

    def broken(settings: JobsSettings) -> list[str]:
        tried.append(settings)
        raise KeyError("nobody expects it")

    monkeypatch.setattr(consumer_module, "ensure_topics", broken)
    monkeypatch.setattr(consumer_module, "RECONNECT_S", 0.01)
    async with asyncio.timeout(PATIENCE_S), QueueConsumer(JobsSettings(kafka="127.0.0.1:1"), GROUP, ["topic"]):
        while len(tried) < 3:  # noqa: ASYNC110  # a thread tries
            await asyncio.sleep(0.01)


async def test_a_message_for_nobody_is_not_taken(make_settings: MakeSettings) -> None:
    async with producing(make_settings(send_timeout_s=2)) as producer:
        with pytest.raises(OverloadedError, match="bytes"):
            await producer.send("any", "key", Message(jobs_pb2.QueuedItem(tenant="x" * 2_000_000)))
        cancelled = asyncio.create_task(producer.send("made.usage", "key", message(0)))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
