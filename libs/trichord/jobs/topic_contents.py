"""What lies in a topic, read without a group, so that nobody's place in it moves. Blocks; knows no message."""

from __future__ import annotations

from typing import Any

from kafka import KafkaConsumer, TopicPartition

from trichord.errors import UnavailableError
from trichord.jobs.connection import client_options, connect, told_as_unavailable
from trichord.jobs.settings import JobsSettings

SILENCE_S = 15.0
"""Without a message for so long the queue is away: a first fetch takes some seconds."""


def newest(settings: JobsSettings, topic: str, limit: int) -> list[Any]:
    """kafka-python's records, the newest ``limit`` of each partition, in no order.

    Raises SettingsError without a queue, or UnavailableError.
    """
    with told_as_unavailable():
        options = client_options(settings, "trichord-reader") | {"group_id": None, "enable_auto_commit": False}
        consumer = connect(KafkaConsumer, options)
        try:
            return _records(consumer, topic, limit)
        finally:
            consumer.close()


def _records(consumer: KafkaConsumer, topic: str, limit: int) -> list[Any]:
    partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    consumer.assign(partitions)
    begins, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    left = {}
    for partition in partitions:
        begin = max(begins[partition], ends[partition] - limit)
        consumer.seek(partition, begin)
        left[partition] = ends[partition] - begin
    records: list[Any] = []
    while sum(left.values()) > 0:
        polled = consumer.poll(timeout_ms=int(SILENCE_S * 1000))
        if not polled:
            raise UnavailableError("The queue does not hand over its messages. Try again.", retry_after_s=5.0)
        for partition, found in polled.items():
            left[partition] = max(0, ends[partition] - found[-1].offset - 1)
            records += [record for record in found if record.offset < ends[partition]]
    return records
