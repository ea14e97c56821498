"""Takes messages from the queue, from a thread of its own, and commits them once their effect is there.

The thread polls all the time, whatever is done with what it hands out: long work loses no membership. What comes is
bounded: partitions of which enough waits are paused. Knows no job.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.structs import MemberState
from prometheus_client import Counter

from trichord.errors import TrichordError, UnavailableError
from trichord.jobs.connection import client_options, connect
from trichord.jobs.intake import Delivery, Intake, Place, Record
from trichord.jobs.message import Encoded, Origin
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import ensure_topics, forget_group, topic_ids

__all__ = ["Delivery", "QueueConsumer"]

log = structlog.get_logger(__name__)

POLL_S = 0.1
"""Longest that a look for messages takes, and so that what is done waits to be noticed."""
COMMIT_INTERVAL_S = 0.5
LOOK_INTERVAL_S = 3.0
"""Between two looks at whether the queue is still the same."""
JOIN_S = 5.0
"""Beyond two sessions: in which a group must be joined."""
RECONNECT_S = 1.0
REBALANCE_S = 10.0
"""Longest that a rebalance waits for a member that is gone, unless sessions are longer."""
PARTITION_FETCH_BYTES = 524_288
"""Of each fetch; a message that is larger comes alone."""
LEAVE_S, CLOSE_S = 0.5, 1.0
"""Longest that the last commit and leaving the group may take, and all of an end: what is not committed comes again."""

TAKEN = Counter("trichord_jobs_messages_taken", "Messages handed out of the queue, by topic.", ["topic"])


class QueueConsumer:
    """A member of ``group`` that reads ``topics``::

        async with QueueConsumer(settings, "trichord.workers", topics.work) as consumer:
            async for delivery in consumer:
                ...
                delivery.done()

    The first topics go first: a message of a later one is handed out only when none of an earlier one waits. A
    message whose ``History.not_before`` is to come is held back with all of its partition until then. Iteration
    never fails because the queue is away: it waits until it is back.
    """

    def __init__(
        self,
        settings: JobsSettings,
        group: str,
        topics: Sequence[str],
        *,
        max_in_progress: int = 16,
        instance_id: str = "",
        from_end: bool = False,
    ) -> None:
        """``max_in_progress``: most deliveries handed out and not done; the iteration waits meanwhile.

        ``instance_id``: names a static member (KIP-345), whose restart moves no partition; empty: a dynamic one.
        ``from_end``: a new group begins with what comes from now on, else with the oldest.
        """
        self._settings, self._group, self._topics = settings, group, tuple(topics)
        self._options = _options(settings, group, instance_id, from_end)
        self._intake = Intake(topics, max_in_progress)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue consumer", daemon=True)
        self._topic_ids: dict[str, str] = {}
        self._was_made_anew = self._is_stuck = False
        """Whether the queue ever came back empty; whether the group was not joined in time."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """The next. Ends once closed. May be awaited by one task at a time."""
        while not self._closing.is_set():
            self._news.clear()
            if delivery := self._intake.take(datetime.now(UTC)):
                TAKEN.labels(delivery.origin.topic).inc()
                return delivery
            await self._wait_for_news()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_connected(self) -> bool:
        """Whether partitions are assigned: what readiness tells."""
        return bool(self._intake.places)

    async def start(self) -> None:
        """Starts the thread."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Commits what is done, leaves the group and ends the thread, for CLOSE_S at most. May be called again."""
        if not self._closing.is_set():
            self._closing.set()
            self._news.set()
            if self._thread.ident:
                await asyncio.to_thread(self._thread.join, CLOSE_S)

    async def _wait_for_news(self) -> None:
        due = self._intake.next_due()
        wait_s = max(0.0, (due - datetime.now(UTC)).total_seconds()) if due else None
        try:
            await asyncio.wait_for(self._news.wait(), wait_s)
        except TimeoutError:
            return  # something is due

    # What follows runs on the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._consume()
            except (KafkaError, OSError, TrichordError) as error:
                log.warning("the queue is away", error=type(error).__name__)
                self._closing.wait(RECONNECT_S)
            except Exception:  # without the thread nothing would ever come again
                log.exception("the consumer broke")
                self._closing.wait(RECONNECT_S)

    def _consume(self) -> None:
        ensure_topics(self._settings)
        ids = topic_ids(self._settings, self._topics)
        was_made_anew, self._topic_ids = self._topic_ids not in ({}, ids), ids
        self._was_made_anew |= was_made_anew
        # Never of a queue that lost nothing: what is committed there is of worth.
        if was_made_anew or (self._is_stuck and self._was_made_anew):
            forget_group(self._settings, self._group)
        self._is_stuck = False
        consumer = connect(KafkaConsumer, self._options)
        try:
            consumer.subscribe(self._topics, listener=_Listener(self._intake, consumer, was_made_anew))
            self._poll_until_closed(consumer)
        finally:
            self._intake.revoke(self._intake.places)  # what is not committed by now must not be: is it the same queue?
            _leave(consumer)

    def _poll_until_closed(self, consumer: Any) -> None:
        """Or until the queue is another one, or the group is not joined in time: then it is to be joined anew.

        The embedded broker, come back empty, may let its members go on as if nothing had happened, or wait for good for
        one that is gone: then it helps to forget the group.
        """
        joined_s = commit_at_s = time.monotonic()
        look_at_s = joined_s + LOOK_INTERVAL_S
        while not self._closing.is_set():
            self._poll(consumer)
            now_s = time.monotonic()
            if is_member := consumer.group_metadata().state is MemberState.STABLE:
                joined_s = now_s
            if now_s - joined_s > 2 * self._settings.session_timeout_s + JOIN_S:
                log.warning("the queue lets nobody in")
                self._is_stuck = True
                return
            if is_member and now_s >= look_at_s:  # a look while the embedded broker lets one in holds that up
                if self._is_another_queue():
                    return
                look_at_s = time.monotonic() + LOOK_INTERVAL_S
            if now_s >= commit_at_s:
                _commit(consumer, self._intake)
                commit_at_s = now_s + COMMIT_INTERVAL_S
        _commit(consumer, self._intake)

    def _is_another_queue(self) -> bool:
        try:
            return topic_ids(self._settings, self._topics) != self._topic_ids
        except UnavailableError:
            return False  # as far as is known

    def _poll(self, consumer: Any) -> None:
        full = {TopicPartition(*place) for place in self._intake.full()} & consumer.assignment()
        consumer.resume(*consumer.paused() - full)
        consumer.pause(*full)
        fetched = consumer.poll(int(POLL_S * 1e3))
        self._intake.add(_record(found) for some in fetched.values() for found in some)
        self._tell_news()

    def _tell_news(self) -> None:
        assert self._loop
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop has ended without closing us
            self._closing.set()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Told on the client's own thread, which must not be held up."""

    def __init__(self, intake: Intake, consumer: Any, is_from_beginning: bool) -> None:
        """``is_from_beginning``: what is committed for the first partitions means nothing."""
        self._intake, self._consumer, self._is_from_beginning = intake, consumer, is_from_beginning

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        if self._is_from_beginning and assigned:
            self._consumer.seek_to_beginning(*assigned)
            self._is_from_beginning = False
        self._intake.assign(_places(assigned))

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        _commit(self._consumer, self._intake)
        self._intake.revoke(_places(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._intake.revoke(_places(lost))


def _leave(consumer: Any) -> None:
    """Leaves the group. In the midst of joining it that may never end: then its thread is ended, and so its session."""

    def leave() -> None:
        with contextlib.suppress(KafkaError):
            consumer.close(autocommit=False, timeout_ms=int(LEAVE_S * 1e3))

    leaving = threading.Thread(target=leave, name="queue consumer leaves", daemon=True)
    leaving.start()
    leaving.join(1.5 * LEAVE_S)
    if leaving.is_alive():
        log.warning("the queue is left by force")
        consumer._net.stop(timeout_ms=int(LEAVE_S * 1e3))


def _commit(consumer: Any, intake: Intake) -> None:
    """Tells the brokers, and does not wait: what they do not hear is told again."""
    positions = intake.positions()

    def heard(_: object, outcome: object) -> None:
        if not isinstance(outcome, Exception):
            intake.committed(positions)

    if positions:
        offsets = {TopicPartition(*place): OffsetAndMetadata(offset, "", -1) for place, offset in positions.items()}
        consumer.commit_async(offsets, heard)


def _places(partitions: Iterable[TopicPartition]) -> set[Place]:
    return {(partition.topic, partition.partition) for partition in partitions}


def _record(found: Any) -> Record:
    return Record(
        Origin(found.topic, found.partition, found.offset),
        (found.key or b"").decode(errors="replace"),
        datetime.fromtimestamp(max(found.timestamp, 0) / 1e3, UTC),
        Encoded(found.value or b"", tuple((name, value or b"") for name, value in found.headers)),
    )


def _options(settings: JobsSettings, group: str, instance_id: str, from_end: bool) -> dict[str, Any]:
    session_ms = int(settings.session_timeout_s * 1e3)
    return client_options(settings, "trichord-consumer") | {
        "group_id": group,
        "group_instance_id": instance_id or None,
        "auto_offset_reset": "latest" if from_end else "earliest",
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "partition_assignment_strategy": (CooperativeStickyAssignor,),
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": session_ms // 10,
        "max_poll_interval_ms": max(session_ms, int(REBALANCE_S * 1e3)),
        # All that was fetched at once: what kafka-python 3.0.12 holds of a partition that is paused it never gives out.
        "max_poll_records": sys.maxsize,
        "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
        "fetch_max_bytes": 8 * PARTITION_FETCH_BYTES,
        "fetch_max_wait_ms": int(POLL_S * 1e3),
        "metrics_enabled": False,
    }
