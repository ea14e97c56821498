"""The spans of a trace in the order of a waterfall: depth first, siblings as they began. Pure.

Spans come from many processes, so a parent may come late, or never: its place is kept by a row without a span. What the
spans say of their parents may be nonsense: a circle is cut where it began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from local_cluster.traces.span import Span


class Row(NamedTuple):
    """One line of a waterfall."""

    span_id: str
    depth: int
    """0 at the left."""
    start_ns: int
    end_ns: int
    """Where the span is not there: what its children tell."""
    span: Span | None
    """None if it has not been received."""


def layout(spans: Iterable[Span]) -> list[Row]:
    """A row for each span and for each parent that is missing; the order in which spans came makes no difference.

    A row's children follow it, one deeper, until the next row that is not deeper than itself. Span ids are distinct.
    """
    ordered = sorted(spans, key=_key)
    known = {span.span_id for span in ordered}
    children: dict[str, list[Row]] = defaultdict(list)
    for span in ordered:
        children[span.parent_id].append(Row(span.span_id, 0, span.start_ns, span.end_ns, span))
    missing = [_missing(span_id, rows) for span_id, rows in children.items() if span_id and span_id not in known]
    tops = sorted([*children.pop("", []), *missing], key=_row_key)
    rows = list(_walk(tops, children))
    placed = {row.span_id for row in rows}
    # What is left hangs together in circles.
    return rows + [row for span in ordered for row in _circle(span, children, placed)]


def _walk(tops: Iterable[Row], children: dict[str, list[Row]]) -> Iterator[Row]:
    """Depth first, by hand: a chain of spans may be longer than Python's stack."""
    stack = [*tops][::-1]
    while stack:
        row = stack.pop()
        yield row
        below = children.pop(row.span_id, [])
        stack += [child._replace(depth=row.depth + 1) for child in reversed(below)]


def _circle(span: Span, children: dict[str, list[Row]], placed: set[str]) -> Iterator[Row]:
    """A span that no root leads to, and what hangs on it."""
    if span.span_id in placed:
        return
    top = Row(span.span_id, 0, span.start_ns, span.end_ns, span)
    siblings = children.get(span.parent_id, [])
    children[span.parent_id] = [row for row in siblings if row.span_id != span.span_id]
    for row in _walk([top], children):
        placed.add(row.span_id)
        yield row


def _missing(span_id: str, rows: list[Row]) -> Row:
    return Row(span_id, 0, min(row.start_ns for row in rows), max(row.end_ns for row in rows), None)


def _key(span: Span) -> tuple[int, int, str]:
    return span.start_ns, -span.end_ns, span.span_id


def _row_key(row: Row) -> tuple[int, int, str]:
    return row.start_ns, -row.end_ns, row.span_id
