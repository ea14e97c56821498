"""How much waits in the queue for workers, measured now and then: for metrics, for whoever scales workers, and for the
keeper, who looks after what is neither in the queue nor answered.

Topics that are missing are made on the way: a queue that was restarted empty has none. Knows no job.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import structlog
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec

from gateway.identity.key_ring import utc_now
from gateway.metrics import jobs as metrics
from gateway.routing.tasks import Tasks
from trichord.errors import TrichordError, UnavailableError
from trichord.jobs.connection import client_options, connect, told_as_unavailable
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics

log = structlog.get_logger(__name__)

T = TypeVar("T")

INTERVAL_S = 5.0


class _Admin(KafkaAdminClient):  # type: ignore[misc]
    """One that does not look at what it may do with a group: the embedded broker tells of operations unknown to it."""

    def _process_acl_operations(self, obj: dict[str, Any]) -> dict[str, Any]:
        return obj


class Measured(NamedTuple):
    """The queue at one moment."""

    at: datetime
    num_messages: int
    num_workers: int
    """That take messages out of it: members of their group. One that has gone counts until its session ends."""


class Lag:
    """Of the workers' group, over all topics that they read; a message in progress is still in the queue."""

    def __init__(self, settings: JobsSettings, clock: Callable[[], datetime] = utc_now) -> None:
        self._settings, self._clock = settings, clock
        self._topics = Topics(settings)
        self._tasks = Tasks()
        self._empty: datetime | None = None
        self.newest: Measured | None = None
        """What was measured last."""
        self._admin: KafkaAdminClient | None = None
        self._looking = threading.Lock()

    def start(self) -> None:
        """Measures from now on, until ``close``."""
        self._tasks.start(self._run(), name="measure the queue")

    async def close(self) -> None:
        """Measures no more, and waits for no queue: a look that is in progress ends by itself."""
        await self._tasks.cancel()
        if self._looking.acquire(blocking=False):
            await asyncio.to_thread(self._disconnect)

    def was_empty_after(self, moment: datetime) -> bool:
        """Whether the queue is known to have been empty at some time after ``moment``."""
        return self._empty is not None and self._empty > moment

    async def measure(self) -> None:
        """Measures now. Raises UnavailableError."""
        now = self._clock()
        counted, num_workers = await _beside(self._look)
        prefix = self._settings.topic_prefix
        for topic, number in counted.items():
            metrics.LAG.labels(topic.removeprefix(prefix)).set(number)
        metrics.WORKERS.set(num_workers)
        self.newest = Measured(now, counted.total(), num_workers)
        if not counted.total():
            self._empty = now

    async def _run(self) -> None:
        while True:
            try:
                with contextlib.suppress(TrichordError):  # the connection has logged it
                    await self.measure()
            except Exception as error:  # what one broker says must not end it
                log.error("the queue cannot be measured", exc_info=error)
            await asyncio.sleep(INTERVAL_S)

    def _look(self) -> tuple[Counter[str], int]:
        """Messages by topic that are not done, and workers. Blocks."""
        topics = self._topics
        with self._looking:
            try:
                with told_as_unavailable():
                    if self._admin is None:
                        self._admin = connect(_Admin, client_options(self._settings, "trichord-lag"))
                    topics.ensure(self._admin)
                    return waiting(self._admin, topics.work, topics.workers), num_members(self._admin, topics.workers)
            except UnavailableError:
                self._disconnect()  # a client does not find a queue again that was restarted
                raise

    def _disconnect(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None


def _beside(work: Callable[[], T]) -> asyncio.Future[T]:
    """Has a thread do it that no end of the process waits for."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=run, name="measure the queue", daemon=True).start()
    return asyncio.wrap_future(done)


def waiting(admin: KafkaAdminClient, topics: Sequence[str], group: str) -> Counter[str]:
    """Messages by topic that ``group`` has not committed. Blocks. Raises KafkaError."""
    partitions = [
        TopicPartition(topic["name"], partition["partition_index"])
        for topic in admin.describe_topics(list(topics))
        for partition in topic["partitions"]
    ]
    ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    begins = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    committed = admin.list_group_offsets({group: partitions})[group]
    counted = Counter(dict.fromkeys(topics, 0))
    for partition in partitions:
        done = max(committed[partition].offset, begins[partition].offset)  # -1 where nothing was committed yet
        counted[partition.topic] += max(0, ends[partition].offset - done)
    return counted


def num_members(admin: KafkaAdminClient, group: str) -> int:
    """Consumers that take part in ``group``; none if there is no such group. Blocks. Raises KafkaError."""
    return len(admin.describe_groups([group])[group]["members"])
