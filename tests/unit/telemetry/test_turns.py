"""Work that waits for its turn is told as two spans, or as the wait alone."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.trace import StatusCode

from tests.spans_lab import RecordedSpans
from trichord.errors import MediaError
from trichord.telemetry import names, spans
from trichord.telemetry.turns import turn


async def test_the_wait_ends_where_the_work_begins_in_another_thread(recorded_spans: RecordedSpans) -> None:
    with spans.span("call"), turn("decode", {names.MODALITY: "audio"}) as begins, ThreadPoolExecutor(1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, begins)
    queue, work = recorded_spans.one("decode queue"), recorded_spans.one("decode")
    assert recorded_spans.tree() == [("call", ""), ("decode", "call"), ("decode queue", "call")]
    assert queue.start_time <= queue.end_time == work.start_time <= work.end_time
    assert queue.attributes == work.attributes == {names.MODALITY: "audio"}


def test_more_waiting_after_a_first_beginning_is_waiting(recorded_spans: RecordedSpans) -> None:
    with spans.span("call"), turn("decode") as begins:
        begins()
        with spans.span("first half"):
            pass
        begins()
    decode = recorded_spans.one("decode")
    assert recorded_spans.one("first half").end_time <= decode.start_time
    assert recorded_spans.one("decode queue").end_time == decode.start_time


def test_work_that_fails_fails_and_its_wait_did_not(recorded_spans: RecordedSpans) -> None:
    def refuse() -> None:
        with spans.span("call"), turn("decode") as begins:
            begins()
            raise MediaError("It is no image.")

    with pytest.raises(MediaError):
        refuse()
    assert recorded_spans.one("decode queue").status.status_code is StatusCode.UNSET
    decode = recorded_spans.one("decode")
    assert (decode.attributes[names.ERROR_TYPE], decode.attributes[names.ERROR_ORIGIN]) == (MediaError.reason, True)
    assert names.ERROR_ORIGIN not in recorded_spans.one("call").attributes


async def test_who_leaves_while_waiting_is_seen_to(recorded_spans: RecordedSpans) -> None:
    async def wait() -> None:
        with spans.span("call"), turn("decode"):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert recorded_spans.tree() == [("call", ""), ("decode queue", "call")]
    assert recorded_spans.one("decode queue").attributes[names.ERROR_TYPE] == "CANCELLED"


def test_outside_of_a_request_nothing_is_told(recorded_spans: RecordedSpans) -> None:
    with turn("decode") as begins:
        begins()
    assert recorded_spans.ended == ()
