"""The ends of one job's items, counted as they come, each once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import Message

from trichord.v1 import gateway_pb2, jobs_pb2


class Tally:
    """How many of ``total`` items ended, and how. A byte for each item: 50 000 of them are 50 kB."""

    def __init__(self, total: int) -> None:
        self.usage = gateway_pb2.Usage()
        """What the answers took, all together."""
        self.num_pending = total
        self._states = bytearray(total)

    def add(self, results: Iterable[jobs_pb2.ItemResult]) -> None:
        """Counts results; one that was counted before changes nothing."""
        for result in results:
            if self.is_pending(result.index):
                self._states[result.index] = result.state
                self.num_pending -= 1
                _add(self.usage, result.finished.usage)

    def is_pending(self, index: int) -> bool:
        """Whether an item has not ended, as far as is known."""
        return self._states[index] == jobs_pb2.ITEM_STATE_UNSPECIFIED

    def pending(self) -> Iterator[int]:
        """The items that have not ended, in order."""
        index = self._states.find(0)
        while index >= 0:
            yield index
            index = self._states.find(0, index + 1)

    def ended(self) -> Iterator[int]:
        """The items that have, in order."""
        return (index for index, state in enumerate(self._states) if state)

    def counts(self) -> jobs_pb2.JobCounts:
        """By their ends."""
        return jobs_pb2.JobCounts(
            total=len(self._states),
            completed=self._states.count(jobs_pb2.ITEM_STATE_COMPLETED),
            failed=self._states.count(jobs_pb2.ITEM_STATE_FAILED),
            cancelled=self._states.count(jobs_pb2.ITEM_STATE_CANCELLED),
            expired=self._states.count(jobs_pb2.ITEM_STATE_EXPIRED),
        )


def job_now(record: jobs_pb2.JobRecord, tally: Tally, *, is_cancelled: bool) -> jobs_pb2.Job:
    """A job that has no end yet."""
    job = _counted(record, tally)
    if is_cancelled:
        job.state = jobs_pb2.JOB_STATE_CANCELLING
    elif tally.num_pending < job.counts.total:
        job.state = jobs_pb2.JOB_STATE_RUNNING
    return job


def job_ended(record: jobs_pb2.JobRecord, tally: Tally) -> jobs_pb2.Job:
    """A job none of whose items is pending; its end_time is left to be set."""
    job = _counted(record, tally)
    if job.counts.cancelled:
        job.state = jobs_pb2.JOB_STATE_CANCELLED
    else:
        job.state = jobs_pb2.JOB_STATE_EXPIRED if job.counts.expired else jobs_pb2.JOB_STATE_COMPLETED
    return job


def _counted(record: jobs_pb2.JobRecord, tally: Tally) -> jobs_pb2.Job:
    job = jobs_pb2.Job()
    job.CopyFrom(record.job)
    job.counts.CopyFrom(tally.counts())
    job.usage.CopyFrom(tally.usage)
    return job


def _add(total: Any, more: Any) -> None:
    """Adds numbers field by field."""
    for field, value in more.ListFields():
        if isinstance(value, Message):
            _add(getattr(total, field.name), value)
        else:
            setattr(total, field.name, getattr(total, field.name) + value)
