"""What a worker writes of an item that has ended, and what it tells of it. Pure but for the time of the end.

All that is told is made from the result that was kept, the same each time: so telling it again changes nothing.
"""

from __future__ import annotations

from job_worker.caller import Answer
from job_worker.work import Work
from trichord.errors import TrichordError
from trichord.v1 import jobs_pb2


def completed(work: Work, custom_id: str, answer: Answer, attempts: int) -> jobs_pb2.ItemResult:
    """An item was answered, at the last of so many attempts."""
    result = _ended(work, custom_id, attempts)
    result.state = jobs_pb2.ITEM_STATE_COMPLETED
    result.texts.extend(answer.texts)
    result.finished.CopyFrom(answer.finished)
    result.model = answer.model
    return result


def failed(work: Work, custom_id: str, error: TrichordError, attempts: int) -> jobs_pb2.ItemResult:
    """An item was given up after so many attempts."""
    result = _ended(work, custom_id, attempts)
    result.state = jobs_pb2.ITEM_STATE_FAILED
    told = jobs_pb2.ItemError(code=error.code.name, message=error.message, field=error.field, reason=error.reason)
    result.error.CopyFrom(told)
    return result


def ended(work: Work, result: jobs_pb2.ItemResult) -> jobs_pb2.ItemEnded:
    """For the topic of results."""
    queued = work.queued
    return jobs_pb2.ItemEnded(tenant=queued.tenant, job_id=queued.job_id, index=queued.index, state=result.state)


def usage(work: Work, result: jobs_pb2.ItemResult) -> jobs_pb2.UsageEvent:
    """For the topic of usage: what an answer took, exactly as it told."""
    return jobs_pb2.UsageEvent(
        id=result.request_id,
        request_id=result.request_id,
        tenant=work.queued.tenant,
        model=result.model,
        usage=result.finished.usage,
        end_time=result.end_time,
        job_id=work.queued.job_id,
        trace_id=result.finished.receipt.trace_id,
    )


def _ended(work: Work, custom_id: str, attempts: int) -> jobs_pb2.ItemResult:
    result = jobs_pb2.ItemResult(
        index=work.queued.index, custom_id=custom_id, attempts=attempts, request_id=work.request_id
    )
    result.end_time.GetCurrentTime()
    return result
