"""One line an HTTP request: how it ended and what it took, in the route's words and never the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog

from gateway.identity.audit import digest
from gateway.openai_http.idempotency import MemoryIdempotency, Slot, Stored
from tests.unit.gateway.openai_http.http_lab import HttpLab
from trichord.errors import DeadlineError, UnavailableError

WORDS = "Xyzzy"


@pytest.fixture
def logs() -> AsyncIterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


async def lines(logs: list[Any], number: int = 1) -> list[Any]:
    """The lines of that many requests; the last is written after its answer."""
    async with asyncio.timeout(20):
        while len(found := [line for line in logs if line["event"] == "request" and "route" in line]) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_is_a_line_that_says_what_it_took(http: HttpLab, logs: list[Any], stream: bool) -> None:
    await http.complete(headers={"x-request-id": "mine"}, stream=stream, user=WORDS)
    (line,) = await lines(logs)
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert (line["log_level"], line["request_id"], line["tenant"]) == ("info", "mine", digest("acme"))
    assert (line["operation"], line["items"], line["finish_reason"]) == ("chat", 0, "end_of_turn")
    assert min(line["output_tokens"], line["ttft_ms"], line["duration_ms"]) > 0
    assert "error" not in line
    assert WORDS not in str(logs)


async def test_a_refusal_is_a_line_that_says_why(http: HttpLab, logs: list[Any]) -> None:
    http.refuse(UnavailableError(WORDS))
    await http.complete()
    await http.client.get("/v1/models", headers={"authorization": f"Bearer {WORDS}"})
    first, second = await lines(logs, 2)
    assert (first["status"], first["error"]) == (503, "UNAVAILABLE")
    assert (second["status"], second["error"], second["route"]) == (401, "UNAUTHENTICATED", "-")
    assert "tenant" not in second
    assert WORDS not in str(logs)


async def test_a_stream_that_breaks_off_is_not_taken_for_a_good_one(http: HttpLab, logs: list[Any]) -> None:
    answer = http.desk.core.answer

    async def breaking(*args: Any) -> AsyncIterator[Any]:
        async for event in answer(*args):
            yield event
            if event.HasField("token"):
                raise DeadlineError(WORDS)

    http.desk.core.answer = breaking  # type: ignore[method-assign, assignment]
    await http.complete(stream=True)
    (line,) = await lines(logs)
    assert (line["status"], line["error"]) == (200, "DEADLINE_EXCEEDED")


async def test_paths_methods_and_queries_that_a_caller_made_up_are_not_told(http: HttpLab, logs: list[Any]) -> None:
    await http.client.get(f"/{WORDS}?q={WORDS}")
    await http.client.get(f"/v1/models/{WORDS}")
    await http.client.request(WORDS.upper(), "/v1/models")
    unknown, model, method = await lines(logs, 3)
    assert (unknown["route"], unknown["status"]) == ("-", 404)
    assert (model["route"], model["status"]) == ("/v1/models/{id:path}", 404)
    assert (method["method"], method["status"]) == ("_OTHER", 405)
    assert WORDS.lower() not in str(logs).lower()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_told_at_debug_alone(http: HttpLab, logs: list[Any], path: str) -> None:
    await http.client.get(path)
    (line,) = await lines(logs)
    assert (line["log_level"], line["route"]) == ("debug", path)


async def test_who_leaves_before_the_end_is_told_so(http: HttpLab, logs: list[Any]) -> None:
    entered = http.lab.decoder.calls.entered

    async def never(*_: Any) -> AsyncIterator[Any]:
        entered.set()
        await asyncio.Event().wait()
        yield

    http.desk.core.answer = never  # type: ignore[method-assign, assignment]
    asking = asyncio.create_task(http.complete())
    await asyncio.wait_for(entered.wait(), 20)
    asking.cancel()
    (line,) = await lines(logs)
    assert line["status"] == 499


class Slow(MemoryIdempotency):
    """Takes its time to remember, as a store on a network does."""

    async def finish(self, slot: Slot, stored: Stored) -> None:
        await asyncio.sleep(0.2)
        await super().finish(slot, stored)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_end_of_an_answer_is_not_a_client_that_left(http: HttpLab, logs: list[Any], stream: bool) -> None:
    """What is left to do after the last byte is done: the answer is remembered."""
    http.desk.kept = Slow(1 << 20, 60)
    first = await http.complete(headers={"idempotency-key": "a"}, stream=stream)
    (line,) = await lines(logs)
    assert line["status"] == 200
    again = await http.complete(headers={"idempotency-key": "a"}, stream=stream)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
