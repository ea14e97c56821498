"""Spans: how code says what it is doing, and how failures show on them. Nothing of a request's content is ever in one.

``span`` makes a span current, so that what is called inside becomes its child. An asynchronous generator must use
``detached`` instead: between its steps other code of the same task runs, which is not inside of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from trichord.errors import TrichordError
from trichord.telemetry import names

Metadata = tuple[tuple[str, str], ...]
Attributes = Mapping[str, AttributeValue]

TRACEPARENT = "traceparent"
"""The header of https://www.w3.org/TR/trace-context/; baggage and vendors' tracestate are not passed on."""

_tracer = trace.get_tracer("trichord")
_propagator = TraceContextTextMapPropagator()
_SEEN = "_trichord_seen_by_a_span"


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """The current span within the block; its parent is the current one unless another's context is given."""
    with (
        detached(name, kind, attributes, parent=parent, links=links) as begun,
        trace.use_span(begun, False, False, False),
    ):
        yield begun


@contextmanager
def detached(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A span as long as the block, which is never the current one: ``within`` makes it a parent by hand."""
    begun = _tracer.start_span(name, parent, kind, attributes, links)
    try:
        yield begun
    except BaseException as error:
        fail(begun, error)
        raise
    finally:
        begun.end()


def within(begun: Span) -> Context:
    """The context whose spans are ``begun``'s children."""
    return trace.set_span_in_context(begun, Context())


def record(
    name: str,
    began_ns: int,
    ended_ns: int,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    events: Iterable[tuple[str, int]] = (),
    error: str = "",
) -> Span:
    """A span of the past, from Unix nanoseconds to Unix nanoseconds; ``events`` are names and times.

    A non-empty ``error`` is what ``error_type`` would call the failure that ended it.
    """
    begun = _tracer.start_span(name, parent, SpanKind.INTERNAL, attributes, start_time=began_ns)
    for event, at_ns in events:
        begun.add_event(event, timestamp=at_ns)
    if error:
        begun.set_attributes({names.ERROR_TYPE: error, names.ERROR_ORIGIN: True})
        begun.set_status(Status(StatusCode.ERROR, error))
    begun.end(ended_ns)
    return begun


def fail(begun: Span, error: BaseException) -> None:
    """Marks a span as failed, by what kind of error alone: a message may hold a caller's words."""
    kind = error_type(error)
    begun.set_attribute(names.ERROR_TYPE, kind)
    if not getattr(error, _SEEN, False):
        begun.set_attribute(names.ERROR_ORIGIN, True)
        setattr(error, _SEEN, True)
    begun.set_status(Status(StatusCode.ERROR, kind))


def error_type(error: BaseException) -> str:
    """A bounded name for what went wrong: the reason of an error of ours, ``CANCELLED``, or a class's name."""
    match error:
        case TrichordError():
            return error.reason
        case asyncio.CancelledError() | GeneratorExit():
            return "CANCELLED"
        case TimeoutError():
            return "DEADLINE_EXCEEDED"
    return type(error).__name__


def current_trace_id() -> str:
    """32 hex digits: of the request that is being worked on, recorded or not; zeros outside of any."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def is_recorded() -> bool:
    """Whether the current request's spans are kept."""
    return trace.get_current_span().is_recording()


def outbound(begun: Span | None = None) -> Metadata:
    """Metadata for a hop that is a child of ``begun``, or of the current span. Empty outside of any."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, None if begun is None else within(begun))
    return tuple((name, value) for name, value in carrier.items() if name == TRACEPARENT)


def traceparent() -> str:
    """The current span for a hop that costs something to trace: empty unless it is recorded."""
    return dict(outbound())[TRACEPARENT] if is_recorded() else ""


def inbound(headers: Iterable[tuple[str, str | bytes]]) -> Context:
    """The caller's span, from a hop's headers or metadata; an empty context if there is none, or nonsense."""
    carrier = {name: value for name, value in headers if name == TRACEPARENT and isinstance(value, str)}
    return _propagator.extract(carrier, Context())


def link_to(context: Context) -> Sequence[Link]:
    """A link to the caller's span of ``inbound``, for a trace that does not go on in the caller's."""
    caller = trace.get_current_span(context).get_span_context()
    return [Link(caller)] if caller.is_valid else []


def is_sampled(context: Context) -> bool:
    """Whether the span of ``inbound`` is recorded by its process."""
    return bool(trace.get_current_span(context).get_span_context().trace_flags & TraceFlags.SAMPLED)
