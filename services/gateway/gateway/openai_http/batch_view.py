"""A batch as the API tells it: what its records say, and the job that its lines are. Pure."""

from __future__ import annotations

from gateway.openai_http import batch_output
from gateway.openai_http.batch_records import BatchState
from gateway.openai_http.file_shapes import Batch, BatchStatus, BatchUsage, RequestCounts
from trichord.v1 import jobs_pb2

_RUNNING = (jobs_pb2.JOB_STATE_QUEUED, jobs_pb2.JOB_STATE_RUNNING)


def told(state: BatchState, job: jobs_pb2.Job | None) -> Batch:
    """The batch now; ``job`` is None as long as its lines are no job."""
    spec, checked, cancelled, end = state
    status, ended_at = _status(state, job), end.at if end else None
    return {
        "id": spec.id,
        "object": "batch",
        "endpoint": spec.request.endpoint,
        "model": checked.model if checked else None,
        "errors": {"object": "list", "data": checked.errors} if checked and checked.errors else None,
        "input_file_id": spec.request.input_file_id,
        "completion_window": spec.request.completion_window,
        "status": status,
        "output_file_id": end.output_file_id if end else None,
        "error_file_id": end.error_file_id if end else None,
        "created_at": spec.created_at,
        "in_progress_at": checked.at if checked and checked.job_id else None,
        "expires_at": spec.expires_at,
        "finalizing_at": _finalizing_at(state, job),
        "completed_at": ended_at if status == "completed" else None,
        "failed_at": ended_at if status == "failed" else None,
        "expired_at": ended_at if status == "expired" else None,
        "cancelling_at": cancelled.at if cancelled else None,
        "cancelled_at": ended_at if status == "cancelled" else None,
        "request_counts": end.counts if end else counts(state, job),
        "usage": end.usage if end else usage(job),
        "metadata": dict(spec.request.metadata) if spec.request.metadata else None,
    }


def counts(state: BatchState, job: jobs_pb2.Job | None) -> RequestCounts:
    """Lines by how they ended; what was not answered has failed, for whatever reason."""
    num_wrong = state.checked.num_wrong if state.checked else 0
    told = job.counts if job else jobs_pb2.JobCounts()
    failed = num_wrong + told.failed + told.cancelled + told.expired
    return {"total": num_wrong + told.total, "completed": told.completed, "failed": failed}


def usage(job: jobs_pb2.Job | None) -> BatchUsage | None:
    """What the answers took so far; None before the first."""
    return batch_output.usage(job.usage) if job and job.counts.completed else None


def is_over(job: jobs_pb2.Job) -> bool:
    """Whether all items of a job have results."""
    return job.HasField("end_time")


def _status(state: BatchState, job: jobs_pb2.Job | None) -> BatchStatus:
    if state.end:
        return state.end.status
    if state.cancelled:
        return "cancelling"
    if job is None:
        return "validating"
    return "in_progress" if job.state in _RUNNING else "finalizing"


def _finalizing_at(state: BatchState, job: jobs_pb2.Job | None) -> int | None:
    if state.end:
        return state.end.finalizing_at
    return job.end_time.seconds if job and is_over(job) and not state.cancelled else None
