"""A consumer whose broker came back empty and let it go on as if nothing had happened."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from kafka import TopicPartition
from kafka.structs import ConsumerGroupMetadata, MemberState

from trichord.jobs import consumer as consumer_module
from trichord.jobs.consumer import QueueConsumer
from trichord.jobs.message import Message, encode
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

PLACE = TopicPartition("topic", 0)


class Fetched(NamedTuple):
    """As kafka-python gives messages out."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]]
    topic: str = PLACE.topic
    partition: int = PLACE.partition
    key: bytes | None = None
    timestamp: int = 0


class Client:
    """One membership, which gives a message out."""

    made: list[Client] = []  # noqa: RUF012

    def __init__(self, **_: object) -> None:
        self.made.append(self)
        self.committed = list[int]()
        self._fetched = {PLACE: [Fetched(30, *encode(Message(jobs_pb2.QueuedItem())).__dict__.values())]}

    def subscribe(self, topics: object, listener: Any) -> None:
        self.listener = listener
        listener.on_partitions_assigned([PLACE])

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Fetched]]:
        fetched, self._fetched = self._fetched, {}
        return fetched

    def group_metadata(self) -> ConsumerGroupMetadata:
        return ConsumerGroupMetadata("group", state=MemberState.STABLE)

    def commit_async(self, offsets: dict[TopicPartition, Any], heard: Any) -> None:
        self.committed.append(offsets[PLACE].offset)

    def seek_to_beginning(self, *_: object) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    def paused(self) -> set[TopicPartition]:
        return set()

    def pause(self, *_: object) -> None: ...

    resume = pause

    def close(self, **_: object) -> None:
        self.listener.on_partitions_revoked([PLACE])


async def test_offsets_of_a_queue_that_is_gone_are_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {"topic": "first"}
    monkeypatch.setattr(consumer_module, "KafkaConsumer", Client)
    monkeypatch.setattr(consumer_module, "ensure_topics", lambda _: [])
    monkeypatch.setattr(consumer_module, "forget_group", lambda *_: None)
    monkeypatch.setattr(consumer_module, "topic_ids", lambda *_: dict(ids))
    monkeypatch.setattr(consumer_module, "COMMIT_INTERVAL_S", 1000.0)
    monkeypatch.setattr(consumer_module, "LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr(Client, "made", [])
    async with QueueConsumer(JobsSettings(kafka="unused"), "group", ["topic"]) as consumer:
        async with asyncio.timeout(20):
            delivery = await anext(consumer)
            ids["topic"] = "second"
            delivery.done()
            await anext(consumer)  # from the new queue
    assert len(Client.made) == 2
    assert Client.made[0].committed == []
