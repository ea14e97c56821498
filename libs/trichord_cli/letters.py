"""Dead letters as they lie in the queue. Knows no terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict

from trichord.errors import NotFoundError, RequestError
from trichord.jobs import topic_contents
from trichord.jobs.job_records import JobRecords
from trichord.jobs.message import Message, body_as, decode
from trichord.jobs.objects import open_store
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import jobs_pb2


@dataclass(frozen=True)
class Letter:
    """One dead letter."""

    partition: int
    offset: int
    time: datetime
    """When it was given up, in UTC."""
    message: Message | None
    """None if it cannot be read."""
    queued: jobs_pb2.QueuedItem | None
    """The item in the message; None if there is none."""
    problem: str
    """Why it cannot be read; else why it was given up."""

    @property
    def id(self) -> str:
        """Names it in the topic."""
        return f"{self.partition}-{self.offset}"

    @property
    def job_id(self) -> str:
        """Of the job that it was in; empty if that cannot be read."""
        return self.queued.job_id if self.queued else ""

    def summary(self) -> dict[str, Any]:
        """What a list tells."""
        history = self.message.history if self.message else None
        return {
            "id": self.id,
            "time": self.time.isoformat(timespec="seconds"),
            "tenant": self.queued.tenant if self.queued else None,
            "job_id": self.job_id or None,
            "index": self.queued.index if self.queued else None,
            "attempts": history.attempts if history else None,
            "code": history.error_code if history else "UNREADABLE",
            "message": self.problem,
        }

    def line(self) -> str:
        """The same for people."""
        told = self.summary()
        place = f"{told['job_id']} #{told['index']}" if self.queued else "?"
        tried = f"  {told['attempts']} attempt{'s' if told['attempts'] > 1 else ''}" if told["attempts"] else ""
        return f"{self.id:8}  {told['time']}  {place}{tried}  {told['code']}: {told['message']}"

    def whole(self) -> dict[str, Any]:
        """All of it."""
        told = self.summary()
        if self.message:
            history = self.message.history
            told["first_failure_time"] = history.first_failure_time.isoformat() if history.first_failure_time else None
            told["origin"] = vars(history.origin) if history.origin else None
            told["traceparent"] = self.message.traceparent or None
        if self.queued:
            told["item"] = MessageToDict(self.queued, preserving_proto_field_name=True)
        return told


def read(settings: JobsSettings, limit: int) -> list[Letter]:
    """The newest ``limit`` dead letters, oldest first. Raises SettingsError without a queue, or UnavailableError."""
    records = topic_contents.newest(settings, Topics(settings).dead_letters, limit)
    return sorted(map(_letter, records), key=lambda letter: (letter.time, letter.partition, letter.offset))[-limit:]


def items(queued: Sequence[jobs_pb2.QueuedItem], settings: JobsSettings) -> list[jobs_pb2.JobItem]:
    """The items, those from the store that are not in the queue. Raises NotFoundError for one that is kept no longer.

    Of two with one custom id the second is named by its job and place.
    """
    return asyncio.run(_items(queued, settings))


def _letter(record: Any) -> Letter:
    time = datetime.fromtimestamp(record.timestamp / 1e3, UTC)
    try:
        message = decode(record.value, record.headers)
        queued = body_as(message, jobs_pb2.QueuedItem)
    except RequestError as error:
        return Letter(record.partition, record.offset, time, None, None, error.message)
    return Letter(record.partition, record.offset, time, message, queued, message.history.error_message)


async def _items(queued: Sequence[jobs_pb2.QueuedItem], settings: JobsSettings) -> list[jobs_pb2.JobItem]:
    found: dict[str, jobs_pb2.JobItem] = {}
    records: JobRecords | None = None
    for one in queued:
        item = one.item
        if not one.HasField("item"):
            records = records or JobRecords(open_store(settings.store), settings)
            item = await _stored(records, one)
        if item.custom_id in found:
            item.custom_id = f"{one.job_id}-{one.index}"
        found[item.custom_id] = item
    return list(found.values())


async def _stored(records: JobRecords, queued: jobs_pb2.QueuedItem) -> jobs_pb2.JobItem:
    record = await records.find(queued.tenant, queued.job_id)
    if record is None:
        raise NotFoundError(f"Job {queued.job_id} is kept no longer, and its large items with it.")
    return await records.item(record, queued.index)
