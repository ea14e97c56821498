"""One span, one line in the log and some counts for each time that an item is taken up. Knows no step of the work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from job_worker import metrics
from job_worker.verdict import Verdict
from job_worker.work import Work
from trichord import request_id
from trichord.errors import InternalError, TrichordError
from trichord.jobs import layout
from trichord.jobs.consumer import Delivery
from trichord.telemetry import names, request_line, spans
from trichord.telemetry.exemplars import exemplar
from trichord.v1 import jobs_pb2

log = structlog.get_logger(__name__)

DIGEST_CHARS = 16
"""Of a tenant's hash: what the gateway's log calls it too."""


@contextmanager
def item(work: Work) -> Iterator[None]:
    """Surrounds all that is done with an item; its span is linked to the submission, which may have ended days ago."""
    began_s, origin = time.perf_counter(), work.origin
    attributes: dict[str, AttributeValue] = {
        names.MESSAGING_SYSTEM: "kafka",
        names.MESSAGING_OPERATION_NAME: "process",
        names.MESSAGING_OPERATION_TYPE: "process",
        names.MESSAGING_DESTINATION: origin.topic,
        names.MESSAGING_PARTITION: str(origin.partition),
        names.MESSAGING_OFFSET: origin.offset,
        names.REQUEST_ID: work.request_id,
    }
    tenant = layout.tenant_hash(work.queued.tenant)[:DIGEST_CHARS]
    metrics.QUEUED.observe(max(0.0, time.time() - work.queued_at_s))
    submitted = spans.link_to(spans.inbound([(spans.TRACEPARENT, work.queued.traceparent)]))
    with (
        spans.span(f"process {origin.topic}", SpanKind.CONSUMER, attributes, links=submitted),
        request_line.begun(request_id=work.request_id, tenant=tenant, topic=origin.topic) as line,
    ):
        try:
            yield
        finally:
            log.info("item", duration_ms=round((time.perf_counter() - began_s) * 1e3, 1), **line)


@contextmanager
def call() -> Iterator[None]:
    """Surrounds one call to the gateway, and makes an error of ours of whatever goes wrong in it."""
    began_s, outcome = time.perf_counter(), "CANCELLED"
    metrics.RUNNING.inc()
    try:
        yield
        outcome = "answered"
        metrics.DURATION.observe(time.perf_counter() - began_s, exemplar())
    except TrichordError as error:
        outcome = error.reason
        raise
    except Exception as error:
        bug, outcome = request_id.new(), InternalError.reason
        log.exception("bug", id=bug)
        raise InternalError(f"The worker failed. Tell the operator this id: {bug}.") from error
    finally:
        metrics.RUNNING.dec()
        metrics.ATTEMPTS.labels(outcome).inc()


def judged(verdict: Verdict, error: TrichordError) -> None:
    """The current item failed, and that is what becomes of it."""
    spans.fail(trace.get_current_span(), error)
    request_line.add(step=verdict.step, attempts=verdict.attempts, error=error.reason)
    if verdict.step != "give_up":
        metrics.RETRIES.labels(verdict.step).inc()


def repeated() -> None:
    """The current item had ended before."""
    request_line.add(state="ended before")
    metrics.REPEATED.inc()


def kept(result: jobs_pb2.ItemResult) -> None:
    """The current item's result is this worker's."""
    state = jobs_pb2.ItemState.Name(result.state).removeprefix("ITEM_STATE_").lower()
    request_line.add(state=state)
    metrics.ENDED.labels(state).inc()


def put_aside(delivery: Delivery, error: Exception) -> None:
    """A message is no item, or finds something broken: somebody has to look at it."""
    metrics.PUT_ASIDE.inc()
    bug = None if isinstance(error, TrichordError) else error
    log.error("put aside", origin=str(delivery.origin), reason=spans.error_type(error), exc_info=bug)
