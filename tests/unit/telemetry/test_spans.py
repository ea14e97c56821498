"""Spans say who called whom, where it failed, and nothing of what was said."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import StatusCode

from tests.spans_lab import RecordedSpans
from trichord.errors import OverloadedError
from trichord.telemetry import names, spans


def test_spans_nest_and_record_nothing_outside(recorded_spans: RecordedSpans) -> None:
    with spans.span("outer") as outer, spans.detached("generator", parent=spans.within(outer)) as between:
        with spans.span("inner"):
            assert spans.is_recorded()
        spans.record("past", 1_000, 2_000, parent=spans.within(between), events=[("then", 1_500)])
    assert recorded_spans.tree() == [("generator", "outer"), ("inner", "outer"), ("outer", ""), ("past", "generator")]
    past = recorded_spans.one("past")
    assert (past.start_time, past.end_time, past.events[0].timestamp) == (1_000, 2_000, 1_500)
    assert not spans.is_recorded()
    assert (spans.traceparent(), spans.outbound()) == ("", ())


def test_a_failure_is_marked_where_it_happened_and_says_nothing_of_the_request(recorded_spans: RecordedSpans) -> None:
    secret = "xyzzy"  # a caller's words
    with pytest.raises(OverloadedError), spans.span("outer"), spans.span("inner"):
        raise OverloadedError(secret)
    for span, origin in ((recorded_spans.one("inner"), True), (recorded_spans.one("outer"), None)):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes[names.ERROR_TYPE], span.attributes.get(names.ERROR_ORIGIN)) == ("OVERLOADED", origin)
        assert secret not in span.to_json()


def test_what_a_peer_told_of_began_there(recorded_spans: RecordedSpans) -> None:
    told = OverloadedError("Later.")
    told.is_relayed = True
    with pytest.raises(OverloadedError), spans.span("call"):
        raise told
    call = recorded_spans.one("call")
    assert (call.attributes[names.ERROR_TYPE], names.ERROR_ORIGIN in call.attributes) == ("OVERLOADED", False)


async def test_a_cancelled_task_has_cancelled_spans(recorded_spans: RecordedSpans) -> None:
    async def wait() -> None:
        with spans.span("waiting"):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert recorded_spans.one("waiting").attributes[names.ERROR_TYPE] == "CANCELLED"


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + 32 * "0" + "-1234567890abcdef-01", b"bytes"])
def test_nonsense_from_outside_is_no_parent(header: str | bytes) -> None:
    caller = spans.inbound([(spans.TRACEPARENT, header)])
    assert (list(spans.link_to(caller)), spans.is_sampled(caller)) == ([], False)


def test_a_hop_goes_on_in_the_callers_trace(recorded_spans: RecordedSpans) -> None:
    with spans.span("here"):
        metadata = spans.outbound()
        trace_id = spans.current_trace_id()
    with spans.span("there", parent=spans.inbound(metadata)):
        assert spans.current_trace_id() == trace_id
    assert recorded_spans.tree() == [("here", ""), ("there", "here")]
