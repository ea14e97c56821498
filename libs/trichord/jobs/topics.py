"""Topics as code: what they are called, how many partitions they have, and how long they keep. Knows no message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka.admin import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from trichord.jobs.connection import client_options, connect, told_as_unavailable
from trichord.jobs.message import MAX_MESSAGE_BYTES
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

RECORD_OVERHEAD_BYTES = 4096
"""Room for a batch's own header and a record's key and lengths, beside a message."""


@dataclass(frozen=True)
class Topic:
    """A topic as it shall be."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


class Topics:
    """The topics of one deployment. Attributes are names."""

    def __init__(self, settings: JobsSettings) -> None:
        prefix = settings.topic_prefix
        self.high, self.normal, self.low = (f"{prefix}requests.{p}" for p in ("high", "normal", "low"))
        """QueuedItem; key: job id and place in the job, so that neighbours stay in order and many workers share it."""
        self.retry_5s, self.retry_60s = (f"{prefix}requests.retry.{delay}" for delay in ("5s", "60s"))
        """QueuedItem that failed and is tried again so much later; key: job id."""
        self.results = f"{prefix}results"
        """ItemEnded, key: job id."""
        self.usage = f"{prefix}usage"
        """UsageEvent, key: tenant."""
        self.dead_letters = f"{prefix}dead-letters"
        """QueuedItem that was given up, key: job id; or bytes that were none, with the key that they came with."""
        self.workers = f"{prefix}workers"
        """No topic, but the group of those that read ``work``."""
        self._settings = settings

    def requests(self, priority: jobs_pb2.JobPriority) -> str:
        """Where items of a job of ``priority`` are queued."""
        others = {jobs_pb2.JOB_PRIORITY_HIGH: self.high, jobs_pb2.JOB_PRIORITY_LOW: self.low}
        return others.get(priority, self.normal)

    @property
    def work(self) -> tuple[str, ...]:
        """What a worker reads, the most urgent first: retries, then requests by priority."""
        return (self.retry_5s, self.retry_60s, self.high, self.normal, self.low)

    @property
    def all(self) -> tuple[Topic, ...]:
        """Every one, as it shall be."""
        return tuple(self._topic(name) for name in (*self.work, self.results, self.usage, self.dead_letters))

    def _topic(self, name: str) -> Topic:
        replication = self._settings.replication
        config = {
            "cleanup.policy": "delete",
            "retention.ms": str(self._settings.retention_hours * 3_600_000),
            "max.message.bytes": str(MAX_MESSAGE_BYTES + RECORD_OVERHEAD_BYTES),
            "min.insync.replicas": str(max(1, replication - 1)),
        }
        return Topic(name, self._settings.partitions, replication, config)

    def ensure(self, admin: KafkaAdminClient) -> list[str]:
        """Makes those that are missing, changes none that is there; returns the names of those made. Blocks.

        Raises UnavailableError if the queue does not answer.
        """
        with told_as_unavailable():
            there = set(admin.list_topics())
            missing = [topic for topic in self.all if topic.name not in there]
            return [topic.name for topic in missing if _make(admin, topic)]


def ensure_topics(settings: JobsSettings) -> list[str]:
    """``Topics.ensure`` with a connection of its own. Blocks."""
    with told_as_unavailable():
        admin = connect(KafkaAdminClient, client_options(settings, "trichord-topics"))
    try:
        return Topics(settings).ensure(admin)
    finally:
        admin.close()


def forget_group(settings: JobsSettings, group: str) -> None:
    """Removes what a group of consumers is and has committed, unless somebody is in it. Blocks.

    Raises UnavailableError if the queue does not answer.
    """
    with told_as_unavailable():
        admin = connect(KafkaAdminClient, client_options(settings, "trichord-topics"))
        try:
            admin.delete_groups([group])
        finally:
            admin.close()


def topic_ids(settings: JobsSettings, names: Sequence[str]) -> dict[str, str]:
    """The ids of topics: others than before if they were made anew, when offsets of before mean nothing. Blocks.

    Raises UnavailableError if the queue does not answer. Brokers before Kafka 2.8 have no ids, and say the same always.
    """
    with told_as_unavailable():
        admin = connect(KafkaAdminClient, client_options(settings, "trichord-topics"))
        try:
            return {topic["name"]: str(topic.get("topic_id")) for topic in admin.describe_topics([*names])}
        finally:
            admin.close()


def _make(admin: KafkaAdminClient, topic: Topic) -> bool:
    wanted = {
        "num_partitions": topic.partitions,
        "replication_factor": topic.replication,
        "configs": topic.config,
    }
    try:
        admin.create_topics({topic.name: wanted})
    except TopicAlreadyExistsError:  # another process was faster
        return False
    return True
