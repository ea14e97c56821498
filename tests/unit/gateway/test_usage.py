"""One usage event for each live chat that took something, equal to what its answer told; none for anything else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.fakes import Events, chunk, forever, hello
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, refused, text
from tests.unit.gateway.openai_http import http_lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, running_http
from trichord.errors import UnavailableError
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

SOON_S = 20
JOB = "job_" + "0" * 32
PROMPT = decoder_pb2.PromptTokens(text=7, image=2)
BEGUN = decoder_pb2.GenerateResponse(started=decoder_pb2.GenerateStarted(prompt_tokens=PROMPT))


@pytest.fixture
async def http(lab: Lab) -> AsyncIterator[HttpLab]:
    async with running_http(lab) as running:
        yield running


async def stuck(request: decoder_pb2.GenerateRequest) -> Events:
    yield BEGUN
    yield chunk("Hel", 1, 2)
    await forever(b"")


async def the_event(lab: Lab) -> jobs_pb2.UsageEvent:
    """The only one, once it is there."""
    async with asyncio.timeout(SOON_S):
        while not lab.usage:  # noqa: ASYNC110 - the gateway's task tells nobody that it is over
            await asyncio.sleep(0.01)
    [event] = lab.usage
    return event


async def test_an_answers_event_is_its_usage(lab: Lab) -> None:
    before_s = time.time()
    request = chat_request(image(b"12"), text(), audio(b"34"), request_id="mine")
    *_, last = await lab.chat(request)
    event = await the_event(lab)
    assert event.usage == last.finished.usage
    assert event.usage.images == 1
    assert (event.request_id, event.tenant, event.model) == ("mine", "anonymous", "fake")
    assert before_s - 1 <= event.end_time.ToNanoseconds() / 1e9 <= time.time() + 1
    assert event.trace_id == last.finished.receipt.trace_id
    assert (event.job_id, event.broken_off) == ("", False)


async def test_it_is_there_before_the_caller_has_the_last_event(lab: Lab) -> None:
    async for event in lab.stub.Chat(chat_request(text()), timeout=30):
        assert bool(lab.usage) >= event.HasField("finished")
    assert len(lab.usage) == 1


async def test_two_requests_of_one_name_are_two_events(lab: Lab) -> None:
    for _ in range(2):
        await lab.chat(chat_request(text(), request_id="again"))
    assert [event.request_id for event in lab.usage] == ["again", "again"]
    assert len({event.id for event in lab.usage}) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_over_http_too(lab: Lab, http: HttpLab, stream: bool) -> None:
    response = await http.complete(stream=stream, headers={"x-request-id": "by-http"})
    assert response.status_code == 200
    event = await the_event(lab)
    assert (event.request_id, event.tenant) == ("by-http", "acme")
    assert not event.broken_off
    if not stream:
        told = response.json()["usage"]
        assert told["completion_tokens"] == event.usage.completion_tokens
        assert told["prompt_tokens_details"]["text_tokens"] == event.usage.prompt_tokens.text


async def test_what_is_replayed_is_paid_once(lab: Lab, http: HttpLab) -> None:
    for _ in range(2):
        assert (await http.complete(headers={"idempotency-key": "k"})).status_code == 200
    assert len(lab.usage) == 1


# What ends otherwise


async def test_who_leaves_pays_for_what_came(lab: Lab) -> None:
    lab.decoder.answer = stuck
    call = lab.stub.Chat(chat_request(image()), timeout=60)
    assert kinds([await call.read() for _ in range(3)]) == ["started", "item_encoded", "token"]
    call.cancel()
    event = await the_event(lab)
    expected = gateway_pb2.Usage(prompt_tokens=PROMPT, completion_tokens=2, images=1, image_tiles=1)
    assert (event.usage, event.broken_off) == (expected, True)


async def test_who_leaves_over_http_pays_too(lab: Lab, http: HttpLab) -> None:
    lab.decoder.answer = stuck
    body = http_lab.question(stream=True)
    async with http.client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if "Hel" in line:
                break
    event = await the_event(lab)
    assert (event.usage.completion_tokens, event.broken_off) == (2, True)


async def test_who_is_out_of_time_pays_for_what_came(lab: Lab) -> None:
    lab.decoder.answer = stuck
    with refused():
        await lab.ask(text(), timeout_s=0.5)
    event = await the_event(lab)
    assert (event.usage.completion_tokens, event.broken_off) == (2, True)


async def test_who_leaves_with_the_last_event_is_told_once(lab: Lab) -> None:
    async def lingers(request: decoder_pb2.GenerateRequest) -> Events:
        async for event in hello(request):
            yield event
        await forever(b"")

    lab.decoder.answer = lingers
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    async for event in call:
        if event.HasField("finished"):
            call.cancel()
            break
    await asyncio.wait_for(lab.decoder.calls.idle.wait(), SOON_S)
    assert not (await the_event(lab)).broken_off


async def test_who_leaves_before_the_decoder_worked_pays_nothing(lab: Lab) -> None:
    lab.vision.step = forever
    call = lab.stub.Chat(chat_request(image()), timeout=60)
    await call.read()
    await asyncio.wait_for(lab.vision.calls.entered.wait(), SOON_S)
    call.cancel()
    await asyncio.wait_for(lab.vision.calls.idle.wait(), SOON_S)
    await lab.ask(text())
    assert not (await the_event(lab)).broken_off


async def test_nobody_pays_for_what_failed_or_was_refused(lab: Lab) -> None:
    async def breaks(request: decoder_pb2.GenerateRequest) -> Events:
        yield BEGUN
        yield chunk("Hel", 1, 2)
        raise UnavailableError("Gone.")

    lab.decoder.answer = breaks
    with refused():
        await lab.ask(text())
    with refused():
        await lab.chat(gateway_pb2.ChatRequest())
    lab.decoder.answer = hello
    await lab.ask(text())
    assert not (await the_event(lab)).broken_off


# On behalf of a tenant


async def test_a_jobs_item_is_its_tenants_batch_work_and_has_no_event_here(lab: Lab) -> None:
    told = [("x-trichord-tenant", "acme"), ("x-trichord-job", JOB)]
    request = chat_request(text(), priority=decoder_pb2.PRIORITY_LIVE)
    events = [event async for event in lab.stub.Chat(request, timeout=30, metadata=told)]
    assert kinds(events)[-1] == "finished"
    await lab.ask(text())
    [of_job, live] = lab.decoder.calls.requests
    assert (of_job.priority, live.priority) == (decoder_pb2.PRIORITY_BATCH, decoder_pb2.PRIORITY_UNSPECIFIED)
    assert of_job.cache_scope != live.cache_scope
    assert (await the_event(lab)).tenant == "anonymous"
