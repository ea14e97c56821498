"""Traces as JSON for the pages and the command line: times in milliseconds, a trace's own from its beginning. Pure."""

from __future__ import annotations

import re
import time
from typing import Any

from local_cluster.traces.span import Span
from local_cluster.traces.store import Trace
from local_cluster.traces.summary import CANCELLED, error_of, failure_origins
from local_cluster.traces.tree import Row, layout
from trichord.telemetry import names

SETTLE_S = 3.0
"""Spans leave their processes once a second: after so long without one, no more are expected of a trace with a root."""
GIVE_UP_S = 60.0
"""After so long without one, its root is not expected any more either."""
_NS_PER_MS = 1e6
_METHOD = re.compile(r"^(?:\w+\.)+(\w+/\w+)$")


def line(trace: Trace) -> dict[str, Any]:
    """A trace in a list."""
    told = trace.summary
    first_token_ms = (told.first_token_ns - told.start_ns) / _NS_PER_MS if told.first_token_ns else None
    return {
        "trace_id": trace.trace_id,
        "name": told.name,
        "label": short(told.name),
        "start_ms": told.start_ns / _NS_PER_MS,
        "duration_ms": (told.end_ns - told.start_ns) / _NS_PER_MS,
        "first_token_ms": first_token_ms,
        "services": list(told.services),
        "num_spans": told.num_spans,
        "num_failed": told.num_failed,
        "error": told.error,
        "is_cancelled": told.error == CANCELLED,
        "request_id": told.request_id,
        "model": told.model,
        "has_root": told.has_root,
        "is_settled": time.monotonic() - trace.changed_s > (SETTLE_S if told.has_root else GIVE_UP_S),
    }


def whole(trace: Trace) -> dict[str, Any]:
    """A trace with the rows of its waterfall."""
    spans = trace.spans.values()
    origins = failure_origins(spans)
    ids = {span.span_id for span in origins}
    rows = [_row(row, trace.summary.start_ns, row.span_id in ids) for row in layout(spans)]
    first = next(({"service": span.service, "label": short(span.name)} for span in origins), None)
    return {**line(trace), "origin": first, "num_refused": trace.num_refused, "rows": rows}


def short(name: str) -> str:
    """A method without its package, as people call it; any other name as it is."""
    return _METHOD.sub(r"\1", name)


def _row(row: Row, origin_ns: int, is_origin: bool) -> dict[str, Any]:
    placed = {
        "span_id": row.span_id,
        "depth": row.depth,
        "start_ms": _since(origin_ns, row.start_ns),
        "duration_ms": (row.end_ns - row.start_ns) / _NS_PER_MS,
    }
    return {**placed, **(_span(row.span, origin_ns, is_origin) if row.span else {"is_missing": True})}


def _span(span: Span, origin_ns: int, is_origin: bool) -> dict[str, Any]:
    error = error_of(span)
    return {
        "is_missing": False,
        "parent_id": span.parent_id,
        "name": span.name,
        "label": short(span.name),
        "note": span.text(names.MODALITY),
        "service": span.service,
        "instance": span.instance,
        "kind": span.kind,
        "error": error,
        "is_cancelled": error == CANCELLED,
        "is_origin": is_origin,
        "attributes": dict(span.attributes),
        "events": [
            {"name": event.name, "at_ms": _since(origin_ns, event.at_ns), "attributes": dict(event.attributes)}
            for event in span.events
        ],
        "links": [link._asdict() for link in span.links],
    }


def _since(origin_ns: int, at_ns: int) -> float:
    return (at_ns - origin_ns) / _NS_PER_MS
