"""What is kept, and what goes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local_cluster.traces.settings import TracesSettings
from local_cluster.traces.span import Span
from local_cluster.traces.store import TraceStore
from tests.unit.local_cluster.traces.traces_lab import REQUEST_ID, TRACE_ID, chat_trace, filled, span

any_span = st.builds(
    lambda trace, number, size: span(number, name="n" * size, trace_id=f"{trace:032x}"),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(0, 3000),
)


@given(st.lists(any_span, max_size=80), st.integers(1, 6), st.integers(1, 20), st.integers(2000, 40_000))
def test_no_bound_is_ever_passed_and_the_count_is_true(
    spans: list[Span], max_traces: int, max_spans: int, max_bytes: int
) -> None:
    store = TraceStore(TracesSettings(max_traces=max_traces, max_spans=max_spans, max_bytes=max_bytes))
    for one in spans:
        store.add(one)
        held = [kept for trace in store.traces() for kept in trace.spans.values()]
        assert (len(held), sum(kept.num_bytes() for kept in held)) == (store.num_spans, store.num_bytes)
        assert len(store.traces()) <= max_traces
        assert store.num_spans <= max_spans
        assert store.num_bytes <= max_bytes
        assert all(trace.spans for trace in store.traces())


def test_the_trace_that_came_first_goes_first_and_a_late_span_does_not_keep_it() -> None:
    store = filled([span(1, trace_id=letter * 32) for letter in "abc"] + [span(2, trace_id="a" * 32)], max_traces=3)
    store.add(span(1, trace_id="d" * 32))
    assert [trace.trace_id[0] for trace in store.traces()] == ["b", "c", "d"]


def test_a_late_span_joins_and_one_that_comes_again_replaces() -> None:
    store = filled([span(2, 1, "child"), span(1, 0, "root"), span(2, 1, "child", 0, 7)])
    [trace] = store.traces()
    assert [(one.name, one.end_ns - one.start_ns) for one in trace.spans.values()] == [
        ("child", 7_000_000),
        ("root", 1_000_000),
    ]
    assert trace.summary.name == "root"
    assert store.num_spans == 2


def test_one_trace_cannot_drive_out_the_others() -> None:
    store = filled([span(1, trace_id="a" * 32), *(span(number, 1) for number in range(1, 400))], max_spans=100)
    kept, flood = store.traces()
    assert (len(kept.spans), len(flood.spans), flood.num_refused) == (1, 25, 374)


def test_a_trace_is_found_by_its_id_the_beginning_of_it_and_its_request() -> None:
    store = filled([*chat_trace(), span(1, trace_id="4b" + "0" * 30)])
    assert [trace.trace_id for trace in store.find(TRACE_ID)] == [TRACE_ID]
    assert [trace.trace_id for trace in store.find("4bf9")] == [TRACE_ID]
    assert [trace.trace_id for trace in store.find(REQUEST_ID)] == [TRACE_ID]
    assert len(store.find("4b")) == 2
    assert store.find("5") == []


def test_a_line_tells_of_the_whole() -> None:
    told = filled(chat_trace()).find(TRACE_ID)[0].summary
    assert (told.name, told.model, told.request_id, told.error) == (
        "trichord.v1.OmniService/Chat",
        "smol",
        REQUEST_ID,
        "",
    )
    assert (told.end_ns - told.start_ns, told.first_token_ns - told.start_ns) == (1_240_000_000, 305_000_000)
    assert told.services[0] == "gateway"
    assert len(told.services) == 10
    assert (told.has_root, told.num_spans, told.num_failed) == (True, 25, 0)


def test_what_failed_inside_is_no_failure_of_the_whole() -> None:
    retried = [span(1, 0, "root", 0, 9), span(2, 1, "first try", 1, 2, error="UNAVAILABLE"), span(3, 1, "second", 2, 3)]
    told = filled(retried).find(TRACE_ID)[0].summary
    assert (told.error, told.num_failed) == ("", 1)


def test_a_trace_whose_root_has_not_come_is_named_by_its_earliest_span() -> None:
    told = filled(chat_trace(error="INVALID_MEDIA")[2:]).find(TRACE_ID)[0].summary
    assert (told.name, told.has_root, told.error, told.num_failed) == ("admit", False, "", 4)
