"""Clients that leave or stop reading, and a process that ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.unit.gateway.fakes import STARTED, Events, chunk, forever
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, error_of, image, question, running_http, sse, user
from trichord.v1 import decoder_pb2

URL = "/v1/chat/completions"


class Held:
    """A decoder that says one word, then waits."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def answer(self, request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        await self.may_end.wait()
        yield chunk("lo", 2)
        finished = decoder_pb2.GenerateFinished(reason=decoder_pb2.FINISH_REASON_END_OF_TURN, completion_tokens=2)
        yield decoder_pb2.GenerateResponse(finished=finished)


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_cancels_down_to_the_decoder(http: HttpLab, stream: bool) -> None:
    http.lab.decoder.answer = Held().answer
    asking = asyncio.create_task(http.complete(stream=stream))
    await asyncio.wait_for(http.lab.decoder.calls.entered.wait(), 20)
    asking.cancel()
    await asyncio.wait_for(http.lab.decoder.calls.cancelled.wait(), 20)
    await asyncio.wait_for(http.lab.decoder.calls.idle.wait(), 20)
    assert asking.cancelled() or asking.cancelling()


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_cancels_encoders(http: HttpLab, stream: bool) -> None:
    http.lab.vision.step = forever
    asking = asyncio.create_task(http.complete(stream=stream, messages=[user(image())]))
    await asyncio.wait_for(http.lab.vision.calls.entered.wait(), 20)
    asking.cancel()
    await asyncio.wait_for(http.lab.vision.calls.cancelled.wait(), 20)
    assert http.lab.decoder.calls.requests == []


async def test_leaving_before_the_body_is_sent_starts_nothing(http: HttpLab) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", http.running.port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key-of-acme\r\n"
    writer.write(head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await http.complete()).status_code == 200
    assert len(http.lab.decoder.calls.requests) == 1


async def test_a_stalled_reader_is_cut_off_and_others_are_unharmed(lab: Lab) -> None:
    async def flood(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        if request.request_id == "stalled":
            while True:
                yield chunk("x" * 10_000, 1)
        for event in (chunk("ok", 1), decoder_pb2.GenerateResponse(finished=decoder_pb2.GenerateFinished(reason=1))):
            yield event

    lab.decoder.answer = flood
    stalled = {"json": question(stream=True), "headers": {"x-request-id": "stalled"}}
    async with running_http(lab, write_timeout_s=0.3) as http, http.client.stream("POST", URL, **stalled):
        assert sse(await http.complete(stream=True))[-1] == "[DONE]"
        await asyncio.wait_for(lab.decoder.calls.cancelled.wait(), 30)


async def streaming(http: HttpLab) -> tuple[Any, contextlib.AsyncExitStack]:
    """A stream that has begun, and what ends it."""
    stack = contextlib.AsyncExitStack()
    response = await stack.enter_async_context(http.client.stream("POST", URL, json=question(stream=True)))
    return response, stack


async def test_a_drain_lets_streams_finish_and_refuses_new_requests(lab: Lab) -> None:
    held = Held()
    lab.decoder.answer = held.answer
    async with running_http(lab, drain_timeout_s=20, drain_notice_s=0.05) as http:
        response, stack = await streaming(http)
        draining = asyncio.create_task(http.running.drain())
        await asyncio.sleep(0)
        assert (await http.client.get("/readyz")).status_code == 503
        await asyncio.wait_for(http.desk.drain.refusing.wait(), 20)
        refused = await http.complete()
        assert (refused.status_code, error_of(refused)["code"]) == (503, "unavailable")
        assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("1", "true")
        assert (await http.client.get("/healthz")).status_code == 200
        held.may_end.set()
        await response.aread()
        assert sse(response)[-1] == "[DONE]"
        await stack.aclose()
        await asyncio.wait_for(draining, 20)
        assert await http.running.drain() is None


async def test_a_drain_ends_what_takes_too_long_with_an_error_event(lab: Lab) -> None:
    lab.decoder.answer = Held().answer
    async with running_http(lab, drain_timeout_s=0.05) as http:
        response, stack = await streaming(http)
        draining = asyncio.create_task(http.running.drain())
        await response.aread()
        assert sse(response)[-1]["error"]["code"] == "unavailable"
        await stack.aclose()
        await asyncio.wait_for(draining, 20)
    await asyncio.wait_for(lab.decoder.calls.idle.wait(), 20)


async def test_ipv6_is_served(lab: Lab) -> None:
    async with running_http(lab, listen="[::1]:0") as http:
        response = await http.client.get(f"http://[::1]:{http.running.port}/healthz")
        assert response.json() == {"status": "ok"}


async def test_an_address_that_is_taken_is_said(http: HttpLab) -> None:
    with pytest.raises(OSError, match="Cannot listen on"):
        async with running_http(http.lab, listen=f"127.0.0.1:{http.running.port}"):
            pass
