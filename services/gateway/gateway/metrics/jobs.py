"""What becomes of jobs: taken, kept going, ended. Of items, what is queued again; how they end, workers tell."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from prometheus_client import Counter, Gauge

from trichord.v1 import jobs_pb2

SUBMITTED = Counter("trichord_jobs_submitted", "Jobs taken.", ["priority"])
SUBMITTED_ITEMS = Counter("trichord_jobs_submitted_items", "Items of the jobs taken.", ["priority"])
ENDED = Counter("trichord_jobs_ended", "Jobs that this gateway found to have ended, by how they did.", ["state"])
REQUEUED = Counter(
    "trichord_jobs_requeued_items", "Items queued again, because nothing came of them: the queue lost them or is stuck."
)
OPEN = Gauge("trichord_jobs_open", "Jobs without an end; 0 on gateways that do not keep them now.", ["priority"])
PENDING = Gauge("trichord_jobs_pending_items", "Items of open jobs that have not ended, queued or not.", ["priority"])
OLDEST = Gauge(
    "trichord_jobs_oldest_pending_seconds", "Seconds since the oldest job with unfinished items was taken; 0 if none."
)
LAG = Gauge(
    "trichord_jobs_queued_messages",
    "Messages that wait in the queue for workers, those in progress included.",
    ["topic"],
)
WORKERS = Gauge("trichord_jobs_workers", "Workers that take messages out of the queue, as it knows them.")

PRIORITIES: Mapping[jobs_pb2.JobPriority, str] = {
    jobs_pb2.JOB_PRIORITY_HIGH: "high",
    jobs_pb2.JOB_PRIORITY_NORMAL: "normal",
    jobs_pb2.JOB_PRIORITY_LOW: "low",
}
STATES: Mapping[jobs_pb2.JobState, str] = {
    jobs_pb2.JOB_STATE_COMPLETED: "completed",
    jobs_pb2.JOB_STATE_CANCELLED: "cancelled",
    jobs_pb2.JOB_STATE_EXPIRED: "expired",
}
for _priority in PRIORITIES.values():  # there from the start: what appears as 1 has not risen, for Prometheus
    for _metric in (SUBMITTED, SUBMITTED_ITEMS, OPEN, PENDING):
        _metric.labels(_priority)
for _state in STATES.values():
    ENDED.labels(_state)


class Kept(Protocol):
    """An open job that is kept; ``keeping.Keeping`` is such."""

    record: jobs_pb2.JobRecord
    num_pending: int


def submitted(record: jobs_pb2.JobRecord) -> None:
    """Notes a job that was taken."""
    priority = PRIORITIES[record.job.spec.priority]
    SUBMITTED.labels(priority).inc()
    SUBMITTED_ITEMS.labels(priority).inc(record.job.counts.total)


def ended(job: jobs_pb2.Job) -> None:
    """Notes a job that ended."""
    ENDED.labels(STATES[job.state]).inc()


def kept(jobs: Sequence[Kept], now: datetime) -> None:
    """Tells what is open now."""
    num_open = Count(job.record.job.spec.priority for job in jobs)
    pending: Count[jobs_pb2.JobPriority] = Count()
    for job in jobs:
        pending[job.record.job.spec.priority] += job.num_pending
    for priority, name in PRIORITIES.items():
        OPEN.labels(name).set(num_open[priority])
        PENDING.labels(name).set(pending[priority])
    OLDEST.set(oldest_pending_s(jobs, now))


def oldest_pending_s(jobs: Sequence[Kept], now: datetime) -> float:
    """Seconds since the oldest of the jobs with unfinished items was taken; 0 if there is none."""
    taken_s = [job.record.job.create_time.ToNanoseconds() / 1e9 for job in jobs if job.num_pending]
    return max(0.0, now.timestamp() - min(taken_s)) if taken_s else 0.0
