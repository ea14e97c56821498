"""Surrounds every gRPC call of every service with a server span, its metrics, and its one line in the log.

RPC semantic conventions (release candidate): https://opentelemetry.io/docs/specs/semconv/rpc/. Knows no service.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import structlog
from google.protobuf import descriptor_pool
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Gauge, Histogram

from trichord.errors import TrichordError
from trichord.interceptors import TRACE_ID, Context, Guarding
from trichord.telemetry import names, request_line, spans
from trichord.telemetry.exemplars import exemplar

log = structlog.get_logger(__name__)

OTHER = "_OTHER"

DURATION = Histogram(
    "rpc_server_call_duration_seconds",
    "How long calls took, from their arrival to their last response.",
    ["rpc_method", "rpc_response_status_code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60),
)
IN_PROGRESS = Gauge("trichord_rpc_calls_in_progress", "Calls in progress.", ["rpc_method"])


class ObservingInterceptor(Guarding):
    """Must be inside of the ErrorInterceptor, to see errors as what they are, and outside of all others.

    At the edge (``trusts_parent`` false) a caller's ``traceparent`` is linked to and its sampling not obeyed: a caller
    must not decide what tracing costs.
    """

    def __init__(self, *, trusts_parent: bool) -> None:
        self._trusts_parent = trusts_parent

    def _applies(self, method: str) -> bool:
        return not method.startswith("/grpc.")

    @contextlib.asynccontextmanager
    async def _guard(self, context: Context, method: str) -> AsyncIterator[None]:
        method = known(method)
        with (
            self._span(context, method) as current,
            request_line.begun(**request_line.inbound(context.invocation_metadata() or ())) as line,
            _measured(method, current, line),
        ):
            context.set_trailing_metadata(((TRACE_ID, spans.current_trace_id()),))
            yield

    def _span(self, context: Context, method: str) -> contextlib.AbstractContextManager[Span]:
        caller = spans.inbound(context.invocation_metadata() or ())
        attributes = {names.RPC_SYSTEM: "grpc", names.RPC_METHOD: method}
        if self._trusts_parent:
            return spans.span(method, SpanKind.SERVER, attributes, parent=caller)
        return spans.span(method, SpanKind.SERVER, attributes, links=spans.link_to(caller))


def known(path: str) -> str:
    """A method's name for spans, labels and logs; ``_OTHER`` for a path that a caller made up."""
    method = path.removeprefix("/")
    try:
        descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    except KeyError:
        return OTHER
    return method


@contextlib.contextmanager
def _measured(method: str, current: Span, line: request_line.Facts) -> Iterator[None]:
    """Times a call, and notes how it ended."""
    began_s = time.perf_counter()
    status = "OK"
    IN_PROGRESS.labels(method).inc()
    try:
        yield
    except BaseException as error:
        status = _status(error)
        line["error"] = spans.error_type(error)
        raise
    finally:
        duration_s = time.perf_counter() - began_s
        IN_PROGRESS.labels(method).dec()
        current.set_attribute(names.RPC_STATUS, status)
        DURATION.labels(method, status).observe(duration_s, exemplar())
        log.info("request", method=method, status=status, duration_ms=round(duration_s * 1e3, 1), **line)


def _status(error: BaseException) -> str:
    match error:
        case TrichordError():
            return error.code.name
        case GeneratorExit():
            return grpc.StatusCode.CANCELLED.name
        case Exception():
            return grpc.StatusCode.INTERNAL.name
    return grpc.StatusCode.CANCELLED.name
