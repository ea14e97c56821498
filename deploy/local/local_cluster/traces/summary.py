"""What a list tells of a trace, from the spans that have come. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from local_cluster.traces.span import Span
from trichord.telemetry import names

CANCELLED = "CANCELLED"
"""What ``trichord.telemetry.spans.error_type`` calls a caller that left."""
_NS_PER_S = 1e9


class Summary(NamedTuple):
    """One line of a list."""

    name: str
    """Of the root; while that is not there, of the earliest span."""
    start_ns: int
    end_ns: int
    services: tuple[str, ...]
    """In the order in which they took part."""
    num_spans: int
    num_failed: int
    error: str
    """What the whole ended with: a type of error, empty if it went well or has not ended."""
    request_id: str
    model: str
    first_token_ns: int
    """When the first token was there; 0 if none is known to be."""
    has_root: bool
    """Whether the span has come that all others are in: it comes last."""


def summarize(spans: Collection[Span]) -> Summary:
    """The line of a trace with at least one span."""
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))
    roots = [span for span in ordered if not span.parent_id]
    top = (roots or ordered)[0]
    return Summary(
        name=top.name,
        start_ns=ordered[0].start_ns,
        end_ns=max(span.end_ns for span in ordered),
        services=tuple(dict.fromkeys(span.service for span in ordered)),
        num_spans=len(ordered),
        num_failed=sum(span.is_failed for span in ordered),
        error=error_of(top) if roots else "",
        request_id=_first(ordered, names.REQUEST_ID) or _first(ordered, names.RESPONSE_ID),
        model=_first(ordered, names.REQUEST_MODEL) or _first(ordered, names.RESPONSE_MODEL),
        first_token_ns=first_token_ns(ordered),
        has_root=bool(roots),
    )


def error_of(span: Span) -> str:
    """What a span ended with: its type of error, empty if it went well."""
    return (span.text(names.ERROR_TYPE) or "ERROR") if span.is_failed else ""


def failure_origins(spans: Collection[Span]) -> list[Span]:
    """The failed spans of which no child has failed, so that what went wrong did so there; the first to end first."""
    passed_on = {span.parent_id for span in spans if span.is_failed}
    return sorted((span for span in spans if span.is_failed and span.span_id not in passed_on), key=lambda s: s.end_ns)


def first_token_ns(spans: Iterable[Span]) -> int:
    """When the first token was there, as the outermost span tells that knows; 0 if none does."""
    for span in spans:
        seconds = span.attributes.get(names.TIME_TO_FIRST_CHUNK)
        if isinstance(seconds, int | float) and 0 < seconds * _NS_PER_S <= span.end_ns - span.start_ns:
            return span.start_ns + round(seconds * _NS_PER_S)
        for event in span.events:
            if event.name == names.FIRST_TOKEN:
                return event.at_ns
    return 0


def _first(spans: Iterable[Span], name: str) -> str:
    return next((text for span in spans if (text := span.text(name))), "")
