"""Spans: how code says what it is doing, and how failures show on them. Nothing of a request's content is ever in one.

``span`` makes a span current, so that what is called inside becomes its child. An asynchronous generator must use
``detached`` instead: between its steps other code of the same task runs, which is not inside of it.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from trichord.errors import TrichordError
from trichord.telemetry import names

Metadata = tuple[tuple[str, str], ...]
Attributes = Mapping[str, AttributeValue]

T = TypeVar("T")

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
    with detached(name, kind, attributes, parent=parent, links=links) as begun:
        before = get_current()
        attach(trace.set_span_in_context(begun))
        try:
            yield begun
        finally:
            attach(before)  # not a token's detaching: a generator may be closed in another context


@contextmanager
def detached(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    *,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A span as long as the block, which is never the current one: ``within`` makes it a parent by hand.

    In a trace that is not recorded it is its parent: spans that nobody will see cost next to nothing.
    """
    outer = trace.get_current_span(parent)
    if _is_dropped(outer.get_span_context()):
        yield outer
        return
    begun = _tracer.start_span(name, parent, kind, attributes, links)
    try:
        yield begun
    except BaseException as error:
        fail(begun, error)
        raise
    finally:
        begun.end()


async def steps(begun: Span, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """What ``work`` yields; ``begun`` is current while ``work`` runs, and not while its consumer does."""
    inside = within(begun)
    try:
        while True:
            token = attach(inside)
            try:
                step = await anext(work)
            except StopAsyncIteration:
                return
            finally:
                detach(token)
            yield step
    finally:
        token = attach(inside)
        try:
            await work.aclose()
        finally:
            detach(token)


def background() -> contextvars.Context:
    """For ``create_task``: what no request waits for is in no request's trace, and its hops record nothing either."""
    ids, apart = RandomIdGenerator(), contextvars.Context()
    nobody = NonRecordingSpan(SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=False))
    apart.run(attach, within(nobody))
    return apart


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
    error: str | BaseException = "",
) -> Span:
    """A span of the past, from Unix nanoseconds to Unix nanoseconds; ``events`` are names and times.

    ``error`` is the failure that ended it, or what ``error_type`` would call it.
    """
    begun = _tracer.start_span(name, parent, SpanKind.INTERNAL, attributes, start_time=began_ns)
    for event, at_ns in events:
        begun.add_event(event, timestamp=at_ns)
    if isinstance(error, BaseException):
        fail(begun, error)
    elif error:
        begun.set_attributes({names.ERROR_TYPE: error, names.ERROR_ORIGIN: True})
        begun.set_status(Status(StatusCode.ERROR, error))
    begun.end(ended_ns)
    return begun


def fail(begun: Span, error: BaseException) -> None:
    """Marks a span as failed, by what kind of error alone: a message may hold a caller's words.

    Unless it ``succeeded`` before: whoever has the whole answer may leave without waiting for its end.
    """
    if (status := getattr(begun, "status", None)) is not None and status.status_code is StatusCode.OK:
        return
    kind = error_type(error)
    begun.set_attribute(names.ERROR_TYPE, kind)
    if not getattr(error, _SEEN, False) and not getattr(error, "is_relayed", False):
        begun.set_attribute(names.ERROR_ORIGIN, True)
        setattr(error, _SEEN, True)
    begun.set_status(Status(StatusCode.ERROR, kind))


def succeeded(begun: Span) -> None:
    """Marks a span as a success, whatever ends it."""
    begun.set_status(Status(StatusCode.OK))


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
    """Whether the current request's spans are kept: those of what it left behind, too, once its own have ended."""
    return _is_kept(trace.get_current_span())


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


def link_with(other: Span) -> Sequence[Link]:
    """A link to a span of this process, for one that waits for it. None if nobody will see it."""
    return [Link(other.get_span_context())] if _is_kept(other) else []


def _is_kept(span: Span) -> bool:
    return bool(span.get_span_context().trace_flags & TraceFlags.SAMPLED)


def _is_dropped(context: SpanContext) -> bool:
    return context.is_valid and not context.trace_flags & TraceFlags.SAMPLED


def is_sampled(context: Context) -> bool:
    """Whether the span of ``inbound`` is recorded by its process."""
    return bool(trace.get_current_span(context).get_span_context().trace_flags & TraceFlags.SAMPLED)
