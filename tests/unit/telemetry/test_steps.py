"""Spans around generators: current for what they do, not for what is done with what they yield."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from tests.spans_lab import RecordedSpans
from trichord.errors import OverloadedError
from trichord.telemetry import names, spans


async def numbers(ends: list[str]) -> AsyncGenerator[int, None]:
    try:
        for number in range(3):
            with spans.span(f"step {number}"):
                await asyncio.sleep(0)
            yield number
    finally:
        with spans.span("end"):
            ends.append("closed")


async def test_what_a_generator_does_is_inside_and_what_its_consumer_does_is_not(recorded_spans: RecordedSpans) -> None:
    ends: list[str] = []
    with spans.span("consumer"), spans.detached("work") as work:
        async with aclosing(spans.steps(work, numbers(ends))) as steps:
            async for number in steps:
                with spans.span(f"use {number}"):
                    assert trace.get_current_span() is not work
    inside = [(f"step {number}", "work") for number in range(3)]
    outside = [(f"use {number}", "consumer") for number in range(3)]
    expected = [("consumer", ""), ("end", "work"), *inside, *outside, ("work", "consumer")]
    assert recorded_spans.tree() == sorted(expected)
    assert ends == ["closed"]


async def test_its_end_is_inside_too_when_its_consumer_leaves(recorded_spans: RecordedSpans) -> None:
    ends: list[str] = []
    with spans.detached("work") as work:
        async with aclosing(spans.steps(work, numbers(ends))) as steps:
            assert await anext(steps) == 0
    assert ends == ["closed"]
    assert ("end", "work") in recorded_spans.tree()
    assert not trace.get_current_span().get_span_context().is_valid


async def test_another_task_may_close_it(recorded_spans: RecordedSpans) -> None:
    ends: list[str] = []
    with spans.detached("work") as work:
        steps = spans.steps(work, numbers(ends))
        await anext(steps)
        await asyncio.create_task(steps.aclose())  # type: ignore[arg-type]
    assert ("end", "work") in recorded_spans.tree()


async def test_what_it_raises_comes_out(recorded_spans: RecordedSpans) -> None:
    async def failing() -> AsyncGenerator[int, None]:
        yield 1
        raise OverloadedError("Full.")

    with pytest.raises(OverloadedError), spans.detached("work") as work:
        async for _ in spans.steps(work, failing()):
            pass
    assert recorded_spans.one("work").attributes[names.ERROR_TYPE] == "OVERLOADED"


def test_whoever_has_the_answer_may_leave(recorded_spans: RecordedSpans) -> None:
    def answer() -> Iterator[int]:
        with spans.span("answer") as answering:
            spans.succeeded(answering)
            yield 1

    parts = answer()
    next(parts)
    parts.close()  # type: ignore[attr-defined]
    assert recorded_spans.one("answer").status.status_code is StatusCode.OK
    assert dict(recorded_spans.one("answer").attributes) == {}


def test_what_a_request_left_behind_is_recorded_after_its_end(recorded_spans: RecordedSpans) -> None:
    with spans.span("request") as request:
        pass
    with trace.use_span(request):
        assert spans.is_recorded()
    (link,) = spans.link_with(request)
    assert link.context == request.get_span_context()


def test_background_is_in_no_trace_and_says_so_to_its_hops(recorded_spans: RecordedSpans) -> None:
    def work() -> str:
        with spans.span("work"):
            assert not spans.is_recorded()
            return dict(spans.outbound())[spans.TRACEPARENT]

    with spans.span("request"):
        first, second = (spans.background().run(work) for _ in range(2))
    assert recorded_spans.tree() == [("request", "")]
    assert {header[-3:] for header in (first, second)} == {"-00"}
    assert first != second
    assert not list(spans.link_with(trace.INVALID_SPAN))
