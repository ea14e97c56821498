"""What is let go when a chat ends early: by its client, by a failure, by its deadline."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tests.unit.gateway.fakes import FINISHED, STARTED, Events, chunk, forever, raising
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, refused, text
from trichord import server
from trichord.errors import DeadlineError, MediaError, UnavailableError
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

SOON_S = 20
"""Longer than anything here takes on a busy machine; reached only when something hangs."""


async def wait_for(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), SOON_S)


def stuck_after(*events: decoder_pb2.GenerateResponse) -> object:
    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        for event in events:
            yield event
        await forever(b"")

    return answer


# The client leaves


async def test_a_client_that_leaves_while_its_media_are_encoded_cancels_all_of_them(lab: Lab) -> None:
    lab.vision.step = lab.audio.step = forever
    call = lab.stub.Chat(chat_request(image(b"1"), image(b"2"), audio()), timeout=60)
    assert (await call.read()).HasField("started")
    await wait_for(lab.vision.calls.entered)
    await wait_for(lab.audio.calls.entered)
    call.cancel()
    await wait_for(lab.vision.calls.cancelled)
    await wait_for(lab.audio.calls.cancelled)
    await wait_for(lab.vision.calls.idle)
    await wait_for(lab.audio.calls.idle)
    assert lab.decoder.calls.requests == []


@pytest.mark.parametrize("calls", ["models", "counts"])
async def test_a_client_that_leaves_during_the_checks_cancels_them(lab: Lab, calls: str) -> None:
    async def stuck(request: object, context: object) -> None:
        with getattr(lab.decoder, calls).seen(request, context):
            await forever(b"")

    setattr(lab.decoder, {"models": "GetModel", "counts": "CountTokens"}[calls], stuck)
    await lab.stop("decoder")
    await lab.restart("decoder")
    call = lab.stub.Chat(chat_request(image()), timeout=60)
    reading = asyncio.create_task(call.read())
    await wait_for(getattr(lab.decoder, calls).entered)
    call.cancel()
    await wait_for(getattr(lab.decoder, calls).cancelled)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert lab.vision.calls.requests == []


async def test_a_client_that_leaves_before_the_first_token_cancels_the_answer(lab: Lab) -> None:
    lab.decoder.answer = stuck_after(STARTED)  # type: ignore[assignment]
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    await call.read()
    await wait_for(lab.decoder.calls.entered)
    call.cancel()
    await wait_for(lab.decoder.calls.cancelled)
    assert lab.decoder.calls.num_running == 0


async def test_a_client_that_leaves_in_mid_stream_cancels_the_answer(lab: Lab) -> None:
    lab.decoder.answer = stuck_after(STARTED, chunk("Hel", 1))  # type: ignore[assignment]
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    assert kinds([await call.read(), await call.read()]) == ["started", "token"]
    call.cancel()
    await wait_for(lab.decoder.calls.cancelled)


async def test_a_client_that_stops_reading_holds_the_decoder_back_and_frees_it_by_leaving(lab: Lab) -> None:
    """Its window fills, then the gateway's, then the decoder cannot write on: what is buffered is bounded."""
    num_written = 0

    async def endless(request: decoder_pb2.GenerateRequest) -> Events:
        nonlocal num_written
        while True:
            yield chunk("x" * 65536)
            num_written += 1

    lab.decoder.answer = endless
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    await call.read()
    before = -1
    async with asyncio.timeout(SOON_S):
        while before != num_written or not num_written:
            before = num_written
            await asyncio.sleep(0.2)
    assert num_written * 65536 < 64 * 1024 * 1024
    assert lab.decoder.calls.num_running == 1
    call.cancel()
    await wait_for(lab.decoder.calls.idle)


async def test_a_connection_that_breaks_cancels_the_answer(lab: Lab) -> None:
    lab.decoder.answer = stuck_after(STARTED, chunk("Hel", 1))  # type: ignore[assignment]
    channel = server.open_channel(f"127.0.0.1:{lab.gateway.port}", 1 << 20)
    call = gateway_pb2_grpc.OmniServiceStub(channel).Chat(chat_request(text()), timeout=60)
    await call.read()
    await call.read()
    await channel.close()
    await wait_for(lab.decoder.calls.cancelled)


# A part fails


async def test_the_first_medium_that_fails_cancels_the_others(lab: Lab) -> None:
    async def fails_when_the_other_is_there(content: bytes) -> None:
        await wait_for(lab.audio.calls.entered)
        raise MediaError("This is not an image.", field="image")

    lab.audio.step = forever
    lab.vision.step = fails_when_the_other_is_there
    with refused() as refusal:
        await lab.ask(audio(), image())
    assert refusal.error.field == "messages[0].parts[1].image_bytes"
    await wait_for(lab.audio.calls.cancelled)
    assert lab.decoder.calls.requests == []


# Time


async def test_every_hop_gets_less_time_than_the_caller_has(lab: Lab) -> None:
    """gRPC rounds up what it sends, here to hundredths of a second: the margin and the wait are larger than that."""
    object.__setattr__(lab.cluster.settings, "hop_margin_s", 2)

    async def slow(content: bytes) -> None:
        await asyncio.sleep(0.5)

    lab.vision.step = slow
    await lab.ask(image(), timeout_s=9)
    for calls in (lab.decoder.models, lab.decoder.counts, lab.vision.calls):
        assert 0 < calls.timeouts_s[0] <= 7.1
    assert 0 < lab.decoder.calls.timeouts_s[0] <= 6.6


async def test_a_caller_without_a_deadline_gets_the_deployments(lab: Lab) -> None:
    assert kinds([event async for event in lab.stub.Chat(chat_request(text()))])[-1] == "finished"
    assert 200 < lab.decoder.calls.timeouts_s[0] < 300


async def test_no_caller_gets_more_time_than_the_deployment_allows(lab: Lab) -> None:
    await lab.ask(text(), timeout_s=86_400)
    assert 200 < lab.decoder.calls.timeouts_s[0] < 300


async def test_a_hung_encoder_ends_at_the_deadline_and_text_still_works(lab: Lab) -> None:
    lab.vision.step = forever
    with refused() as refusal:
        await lab.ask(image(), timeout_s=0.5)
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for(lab.vision.calls.idle)
    assert kinds(await lab.ask(text()))[-1] == "finished"


async def test_the_deadline_of_a_hung_encoder_is_told_by_the_gateway_naming_the_part(lab: Lab) -> None:
    """The margin that every hop keeps back is for this answer."""
    lab.vision.step = forever
    object.__setattr__(lab.cluster.settings, "hop_margin_s", 25)
    with refused() as refusal:
        await lab.ask(text(), image(), timeout_s=25.5)
    assert isinstance(refusal.error, DeadlineError)
    assert "vision encoder" in refusal.error.message
    assert refusal.error.field == "messages[0].parts[1].image_bytes"


async def test_an_answer_past_the_deadline_is_cut(lab: Lab) -> None:
    lab.decoder.answer = stuck_after(STARTED, chunk("Hel", 1))  # type: ignore[assignment]
    with refused() as refusal:
        await lab.ask(text(), timeout_s=0.5)
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for(lab.decoder.calls.cancelled)


async def test_too_little_time_is_not_spent_on_anything(lab: Lab) -> None:
    object.__setattr__(lab.cluster.settings, "hop_margin_s", 60)
    with refused() as refusal:
        await lab.ask(text(), timeout_s=30)
    assert isinstance(refusal.error, DeadlineError)
    assert lab.decoder.models.requests == []


# Services that are away


async def test_a_dead_encoder_is_unavailable_by_name_and_text_still_works(lab: Lab) -> None:
    await lab.stop("vision")
    with refused() as refusal:
        await lab.ask(text(), image())
    assert isinstance(refusal.error, UnavailableError)
    assert "vision encoder" in refusal.error.message
    assert refusal.error.field == "messages[0].parts[1].image_bytes"
    assert refusal.error.retry_after_s is not None
    assert kinds(await lab.ask(text()))[-1] == "finished"
    assert kinds(await lab.ask(audio()))[-1] == "finished"


@pytest.mark.parametrize("name", ["vision", "decoder"])
async def test_a_service_that_comes_back_is_used_again(lab: Lab, name: str) -> None:
    """Within seconds, however long it was away: failures in between must not lengthen the wait for ever."""
    await lab.stop(name)
    for _ in range(4):
        with refused():
            await lab.ask(image())
        await asyncio.sleep(0.3)
    await lab.restart(name)
    async with asyncio.timeout(SOON_S):
        while (code := await outcome(lab)) is not grpc.StatusCode.OK:
            assert code is grpc.StatusCode.UNAVAILABLE
            await asyncio.sleep(0.1)


async def outcome(lab: Lab) -> grpc.StatusCode:
    """The status of a question about an image."""
    try:
        await lab.ask(image())
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_dead_decoder_is_told_before_anything_is_encoded(lab: Lab) -> None:
    await lab.stop("decoder")
    with refused() as refusal:
        await lab.ask(image())
    assert isinstance(refusal.error, UnavailableError)
    assert "decoder" in refusal.error.message
    assert lab.vision.calls.requests == []
    with refused() as refusal:
        await lab.stub.GetModel(gateway_pb2.OmniServiceGetModelRequest())
    assert isinstance(refusal.error, UnavailableError)


async def test_a_decoder_that_dies_in_mid_stream_is_no_clean_end(lab: Lab) -> None:
    lab.decoder.answer = stuck_after(STARTED, chunk("Hel", 1))  # type: ignore[assignment]
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    await call.read()
    await call.read()
    await lab.stop("decoder")
    with refused() as refusal:
        await call.read()
    assert isinstance(refusal.error, UnavailableError)


async def test_two_chats_do_not_disturb_each_other(lab: Lab) -> None:
    """One leaves while the other is answered."""

    async def by_request(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk(request.request_id, 1)
        if request.request_id == "leaves":
            await forever(b"")
        await wait_for(lab.decoder.calls.cancelled)
        yield FINISHED

    lab.decoder.answer = by_request
    leaving = lab.stub.Chat(chat_request(text(), request_id="leaves"), timeout=60)
    await leaving.read()
    await leaving.read()
    staying = asyncio.create_task(lab.chat(chat_request(text(), request_id="stays")))
    leaving.cancel()
    assert kinds(await staying) == ["started", "token", "finished"]


async def test_a_failed_chat_leaves_nothing_running(lab: Lab) -> None:
    lab.vision.step = raising(MediaError("No.", field="image"))
    for _ in range(3):
        with refused():
            await lab.ask(image(), image())
    await wait_for(lab.vision.calls.idle)
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not any(name.startswith("encode") for name in names)
