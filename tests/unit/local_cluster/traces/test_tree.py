"""The order of a waterfall's rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local_cluster.traces.span import Span
from local_cluster.traces.tree import Row, layout
from tests.unit.local_cluster.traces.traces_lab import chat_trace, span


def outline(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.depth, row.span.name if row.span else "?") for row in rows]


def test_children_follow_their_parent_in_the_order_in_which_they_began() -> None:
    rows = layout(reversed(chat_trace()))
    assert outline(rows)[:6] == [
        (0, "trichord.v1.OmniService/Chat"),
        (1, "chat smol"),
        (2, "admit"),
        (2, "encode image"),
        (3, "store lookup"),
        (3, "trichord.v1.VisionEncoderService/EncodeImage"),
    ]
    assert outline(rows)[-3:] == [(5, "queue"), (5, "prefill"), (5, "decode")]


def test_a_parent_that_has_not_come_keeps_a_place_for_its_children() -> None:
    spans = [span(2, 1, "late", 5, 9), span(3, 1, "early", 1, 4), span(9, 0, "other", 2, 3), span(4, 3, "in", 2, 3)]
    rows = layout(spans)
    assert outline(rows) == [(0, "?"), (1, "early"), (2, "in"), (1, "late"), (0, "other")]
    assert (rows[0].span_id, rows[0].start_ns, rows[0].end_ns) == (f"{1:016x}", spans[1].start_ns, spans[0].end_ns)


def test_circles_are_cut() -> None:
    spans = [span(1, 1, "own parent"), span(2, 3, "a", 1, 9), span(3, 2, "b", 2, 3), span(4, 3, "c", 3, 4)]
    assert outline(layout(spans)) == [(0, "own parent"), (0, "a"), (1, "b"), (2, "c")]


def test_a_chain_may_be_longer_than_the_stack() -> None:
    rows = layout(span(number, number - 1) for number in range(1, 20_001))
    assert [row.depth for row in rows] == list(range(20_000))


spans_of_any_shape = st.lists(
    st.builds(
        span,
        st.integers(1, 12),
        st.integers(0, 14),
        start_ms=st.integers(0, 5),
        end_ms=st.integers(5, 9),
    ),
    unique_by=lambda one: one.span_id,
    max_size=12,
)


def ancestors(one: Span, by_id: dict[str, Span]) -> list[str]:
    """Ids from the parent up, until a root, a parent that is not there, or a circle."""
    found: list[str] = []
    while one.parent_id and one.parent_id not in found:
        found.append(one.parent_id)
        if one.parent_id not in by_id:
            break
        one = by_id[one.parent_id]
    return found


@given(spans_of_any_shape, st.randoms())
def test_every_span_has_one_row_whatever_the_spans_say(spans: list[Span], shuffled: object) -> None:
    rows = layout(spans)
    assert sorted(row.span_id for row in rows if row.span) == sorted(one.span_id for one in spans)
    known = {one.span_id for one in spans}
    missing = [row.span_id for row in rows if row.span is None]
    assert sorted(missing) == sorted({one.parent_id for one in spans} - known - {""})
    again = list(spans)
    shuffled.shuffle(again)  # type: ignore[attr-defined]
    assert layout(again) == rows


@given(spans_of_any_shape)
def test_a_spans_row_is_below_its_parents_and_as_deep_as_it_has_ancestors(spans: list[Span]) -> None:
    by_id = {one.span_id: one for one in spans}
    rows = layout(spans)
    place = {row.span_id: index for index, row in enumerate(rows)}
    for one in spans:
        line = ancestors(one, by_id)
        if one.span_id in line or any(up in ancestors(by_id[up], by_id) for up in line if up in by_id):
            continue  # in a circle, or hanging on one
        row = rows[place[one.span_id]]
        assert row.depth == len(line)
        if line:
            assert place[line[0]] < place[one.span_id]
            between = rows[place[line[0]] + 1 : place[one.span_id]]
            assert all(other.depth >= row.depth for other in between)
