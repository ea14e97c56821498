"""The traces that are kept: the newest, as many as there is room for.

Bounded three ways (traces, spans, bytes); the trace whose first span came longest ago goes first. One trace may take a
quarter of the room, so that none can drive out all others; what it has beyond that is refused and counted.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from local_cluster.traces.settings import TracesSettings
from local_cluster.traces.span import Span
from local_cluster.traces.summary import Summary, summarize

_SHARE = 4
"""A trace may have one of so many parts of the room."""


class Trace:
    """The spans of one trace, as far as they have come."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.spans: dict[str, Span] = {}
        self.num_bytes = 0
        self.num_refused = 0
        """Spans for which there was no room."""
        self.changed_s = time.monotonic()
        self._summary: Summary | None = None

    def put(self, span: Span) -> None:
        """Adds a span, or replaces the one with its id."""
        self.num_bytes += span.num_bytes() - self.size_of(span.span_id)
        self.spans[span.span_id] = span
        self.changed_s = time.monotonic()
        self._summary = None

    def size_of(self, span_id: str) -> int:
        """Bytes of a span; 0 if it is not there."""
        held = self.spans.get(span_id)
        return held.num_bytes() if held else 0

    @property
    def summary(self) -> Summary:
        """What a list tells of it."""
        self._summary = self._summary or summarize(self.spans.values())
        return self._summary


class TraceStore:
    """All traces that are kept."""

    def __init__(self, settings: TracesSettings) -> None:
        self._settings = settings
        self._traces: dict[str, Trace] = {}
        self.num_spans = 0
        self.num_bytes = 0

    def add(self, span: Span) -> bool:
        """Keeps a span, for as long as there is room; whether it did."""
        trace = self._traces.get(span.trace_id) or Trace(span.trace_id)
        is_new = span.span_id not in trace.spans
        grown_bytes = span.num_bytes() - trace.size_of(span.span_id)
        if not self._may_grow(trace, int(is_new), grown_bytes):
            trace.num_refused += 1
            return False
        self._traces[span.trace_id] = trace
        trace.put(span)
        self.num_spans += is_new
        self.num_bytes += grown_bytes
        self._make_room()
        return True

    def traces(self) -> Collection[Trace]:
        """Every trace, in the order in which their first spans came."""
        return self._traces.values()

    def find(self, key: str) -> list[Trace]:
        """The traces that a trace id, the beginning of one, or a request id names."""
        if trace := self._traces.get(key):
            return [trace]
        return [trace for trace in self.traces() if trace.trace_id.startswith(key) or trace.summary.request_id == key]

    def _may_grow(self, trace: Trace, num_spans: int, num_bytes: int) -> bool:
        fits = len(trace.spans) + num_spans <= max(1, self._settings.max_spans // _SHARE)
        return fits and trace.num_bytes + num_bytes <= self._settings.max_bytes // _SHARE

    def _make_room(self) -> None:
        settings = self._settings
        while (
            len(self._traces) > settings.max_traces
            or self.num_spans > settings.max_spans
            or self.num_bytes > settings.max_bytes
        ):
            oldest = self._traces.pop(next(iter(self._traces)))
            self.num_spans -= len(oldest.spans)
            self.num_bytes -= oldest.num_bytes
