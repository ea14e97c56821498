"""The order of work and of events: what goes where, in which order, and what the caller is told."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.unit.gateway.fakes import (
    STARTED,
    TOKENS_PER_TILE,
    Events,
    audio_embedding,
    chunk,
    hello,
    image_embedding,
    raising,
)
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, message, refused, text
from trichord.errors import (
    ContextLengthError,
    FingerprintError,
    InternalError,
    MediaError,
    NotFoundError,
    OverloadedError,
    RequestError,
    UnavailableError,
)
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2


async def test_text_is_streamed_without_any_encoder(lab: Lab) -> None:
    events = await lab.ask(text("hello"))
    assert kinds(events) == ["started", "token", "token", "finished"]
    assert [event.token.text for event in events[1:3]] == ["Hel", "lo"]
    assert [list(event.token.token_ids) for event in events[1:3]] == [[1], [2, 3]]
    assert events[0].started.model == "fake"
    assert events[-1].finished.reason == decoder_pb2.FINISH_REASON_END_OF_TURN
    assert lab.vision.calls.requests == lab.audio.calls.requests == []


async def test_text_needs_no_count_beforehand(lab: Lab) -> None:
    await lab.ask(text())
    assert lab.decoder.counts.requests == []


async def test_media_are_told_as_they_are_ready_and_before_any_token(lab: Lab) -> None:
    first_may_end = asyncio.Event()

    async def second_overtakes_first(content: bytes) -> None:
        if content == b"1":
            await first_may_end.wait()

    lab.vision.step = second_overtakes_first
    events = []
    async for event in lab.stub.Chat(chat_request(image(b"1"), text(), image(b"2")), timeout=30):
        events.append(event)
        if event.HasField("item_encoded"):
            first_may_end.set()
    assert kinds(events) == ["started", "item_encoded", "item_encoded", "token", "token", "finished"]
    assert [event.item_encoded.part_index for event in events[1:3]] == [2, 0]


async def test_all_media_are_encoded_side_by_side(lab: Lab) -> None:
    barrier = asyncio.Barrier(4)

    async def all_at_once(content: bytes) -> None:
        await barrier.wait()

    lab.vision.step = lab.audio.step = all_at_once
    events = await lab.ask(image(b"1"), image(b"2"), audio(b"3"), image(b"4"))
    assert kinds(events).count("item_encoded") == 4
    assert barrier.n_waiting == 0


async def test_parts_reach_the_decoder_in_their_order(lab: Lab) -> None:
    conversation = gateway_pb2.ChatRequest(
        messages=[
            message(text("be brief"), role=decoder_pb2.ROLE_SYSTEM),
            message(image(b"1"), text("and"), audio(b"2"), text("and"), image(b"3")),
            message(text("a cat"), role=decoder_pb2.ROLE_ASSISTANT),
            message(audio(b"4"), text("what else?"), image(b"5")),
        ],
        sampling=decoder_pb2.SamplingParams(seed=7, stop=["."]),
        request_id="mine",
    )
    events = await lab.chat(conversation)
    one, two, three, four, five = (bytes(str(n), "ascii") for n in range(1, 6))
    expected = decoder_pb2.GenerateRequest(
        messages=[
            decoder_message(decoder_pb2.ROLE_SYSTEM, "be brief"),
            decoder_message(
                decoder_pb2.ROLE_USER,
                image_embedding(one),
                "and",
                audio_embedding(two),
                "and",
                image_embedding(three),
            ),
            decoder_message(decoder_pb2.ROLE_ASSISTANT, "a cat"),
            decoder_message(decoder_pb2.ROLE_USER, audio_embedding(four), "what else?", image_embedding(five)),
        ],
        sampling=conversation.sampling,
        request_id="mine",
    )
    (request,) = lab.decoder.calls.requests
    assert len(request.cache_scope) == 64
    request.cache_scope = ""
    assert request == expected
    assert events[0].started.request_id == "mine"


def decoder_message(role: decoder_pb2.Role, *parts: str | tensor_pb2.Embedding) -> decoder_pb2.DecoderMessage:
    message = decoder_pb2.DecoderMessage(role=role)
    for part in parts:
        message.parts.add(text=part) if isinstance(part, str) else message.parts.add(embedding=part)
    return message


async def test_unset_sampling_stays_unset(lab: Lab) -> None:
    await lab.ask(image())
    assert not lab.decoder.calls.requests[0].HasField("sampling")
    assert not lab.decoder.counts.requests[0].HasField("sampling")


async def test_a_request_without_an_id_gets_one(lab: Lab) -> None:
    first, second = await lab.ask(text()), await lab.ask(text())
    ids = [events[0].started.request_id for events in (first, second)]
    assert ids == [request.request_id for request in lab.decoder.calls.requests]
    assert len(set(ids)) == 2
    assert all(ids)


async def test_an_embedding_of_the_caller_passes_unchanged(lab: Lab) -> None:
    mine = image_embedding(b"m", cols=2, rows=1)
    events = await lab.ask(text("look"), gateway_pb2.Part(embedding=mine), image(b"n"))
    parts = lab.decoder.calls.requests[0].messages[0].parts
    assert parts[1].embedding == mine
    assert parts[2].embedding == image_embedding(b"n")
    assert [request.image for request in lab.vision.calls.requests] == [b"n"]
    assert kinds(events).count("item_encoded") == 1


async def test_every_hop_is_in_one_trace(lab: Lab) -> None:
    events = await lab.ask(image(), audio())
    trace_id = events[-1].finished.receipt.trace_id
    hops = [*lab.vision.calls.metadata, *lab.audio.calls.metadata, *lab.decoder.counts.metadata]
    hops += lab.decoder.calls.metadata
    assert len(hops) == 4
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[02]", hop["traceparent"]) for hop in hops)
    assert [hop["traceparent"].split("-")[1] for hop in hops] == [trace_id] * 4


# Refusals


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (gateway_pb2.ChatRequest(), "messages"),
        (gateway_pb2.ChatRequest(messages=[message(text())] * 9), "messages"),
        (chat_request(*[text()] * 17), "messages"),
        (chat_request(text(), gateway_pb2.Part()), "messages[0].parts[1]"),
        (chat_request(text(), request_id="x" * 129), "request_id"),
        (chat_request(image(), request_id="two\nlines"), "request_id"),
        (
            gateway_pb2.ChatRequest(
                messages=[message(text()), message(text(), gateway_pb2.Part(image_url="http://10.0.0.1/"))]
            ),
            "messages[1].parts[1].image_url",
        ),
    ],
)
async def test_a_malformed_request_is_refused_before_any_hop(
    lab: Lab, request_: gateway_pb2.ChatRequest, field: str
) -> None:
    with refused() as refusal:
        await lab.chat(request_)
    assert type(refusal.error) is RequestError
    assert refusal.error.field == field
    assert lab.decoder.models.requests == lab.vision.calls.requests == []


@pytest.mark.parametrize("parts", [(text(),), (text(), image())])
async def test_an_unknown_model_is_not_found(lab: Lab, parts: tuple[gateway_pb2.Part, ...]) -> None:
    with refused() as refusal:
        await lab.chat(chat_request(*parts, model="other"))
    assert isinstance(refusal.error, NotFoundError)
    assert refusal.error.field == "model"
    assert lab.vision.calls.requests == lab.decoder.calls.requests == []


@pytest.mark.parametrize(
    "refusal_of_decoder",
    [
        RequestError("The last message is from the user.", field="messages[0].role"),
        RequestError("temperature is from 0 to 5.", field="sampling.temperature"),
        RequestError("At most 1 image.", field="messages[0].parts[1].embedding"),
    ],
)
async def test_what_the_decoder_refuses_is_never_encoded(lab: Lab, refusal_of_decoder: RequestError) -> None:
    lab.decoder.refusal = refusal_of_decoder
    with refused() as refusal:
        await lab.ask(text(), image())
    assert type(refusal.error) is RequestError
    assert refusal.error.message == refusal_of_decoder.message
    assert refusal.error.field in ("messages[0].role", "sampling.temperature", "messages[0].parts[1].image_bytes")
    assert lab.vision.calls.requests == []


async def test_the_decoder_is_asked_about_the_smallest_media_and_the_sampling(lab: Lab) -> None:
    brought = audio_embedding(b"x")
    sampling = decoder_pb2.SamplingParams(temperature=2)
    request = chat_request(image(), text("a"), audio(), gateway_pb2.Part(embedding=brought), sampling=sampling)
    await lab.chat(request)
    (counted,) = lab.decoder.counts.requests
    grid, spoken, windows, mine = counted.messages[0].parts
    assert grid.embedding.grid == tensor_pb2.ImageGrid(tokens_per_tile=TOKENS_PER_TILE)
    assert grid.embedding.modality == tensor_pb2.MODALITY_IMAGE
    assert spoken.text == "a"
    assert list(windows.embedding.windows.tokens) == [1]
    assert windows.embedding.modality == tensor_pb2.MODALITY_AUDIO
    assert mine.embedding.windows == brought.windows
    assert mine.embedding.fingerprint == brought.fingerprint
    assert not mine.embedding.HasField("values")
    assert counted.sampling == sampling


async def test_a_prompt_over_the_context_is_never_encoded(lab: Lab) -> None:
    """The decoder counts without judging: 1 + 2 of the image + 31 tiles of 2 are 65 + the parts."""
    huge = gateway_pb2.Part(embedding=image_embedding(b"x", cols=30, rows=1))
    with refused() as refusal:
        await lab.ask(image(), huge)
    assert isinstance(refusal.error, ContextLengthError)
    assert lab.vision.calls.requests == []


async def test_media_over_the_context_are_not_sent_to_the_decoder(lab: Lab) -> None:
    """Seen only when they are encoded: 13 sounds of 5 rows leave no room in 64."""
    with refused() as refusal:
        await lab.ask(*[audio(bytes([n])) for n in range(1, 14)])
    assert isinstance(refusal.error, ContextLengthError)
    assert refusal.error.field == "messages"
    assert lab.decoder.calls.requests == []


# Errors of the services


@pytest.mark.parametrize(
    "cause",
    [
        MediaError("This is not a PNG, JPEG or WebP.", field="image"),
        OverloadedError("The queue is full.", field="image", retry_after_s=2.5),
        OverloadedError("The queue is full.", retry_after_s=2.5),
        UnavailableError("The model server does not answer.", retry_after_s=1),
    ],
)
async def test_an_encoders_error_names_the_callers_part(lab: Lab, cause: MediaError | OverloadedError) -> None:
    lab.vision.step = raising(cause)
    with refused() as refusal:
        await lab.ask(text(), text(), image())
    assert type(refusal.error) is type(cause)
    assert refusal.error.message == cause.message
    assert refusal.error.retry_after_s == cause.retry_after_s
    assert refusal.error.field == "messages[0].parts[2].image_bytes"
    assert lab.decoder.calls.requests == []


async def test_a_sounds_error_names_its_handle(lab: Lab) -> None:
    kept = await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(audio_bytes=b"A"))
    lab.audio.step = raising(MediaError("Unknown format.", field="audio"))
    with refused() as refusal:
        await lab.ask(text(), gateway_pb2.Part(media_handle=kept.media_handle))
    assert refusal.error.field == "messages[0].parts[1].media_handle"


async def test_a_bug_of_an_encoder_stays_inside(lab: Lab) -> None:
    lab.vision.step = raising(ValueError("secret path"))
    with refused() as refusal:
        await lab.ask(image())
    assert isinstance(refusal.error, InternalError)
    assert "secret" not in refusal.error.message
    assert refusal.error.field == "messages[0].parts[0].image_bytes"


def failing_after(error: Exception | None, *events: decoder_pb2.GenerateResponse) -> object:
    """A decoder's answer of some events and an error; without one it just ends."""

    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        for event in events:
            yield event
        if error is not None:
            raise error

    return answer


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("messages[0].parts[1].embedding.values.shape", "messages[0].parts[1].image_bytes"),
        ("messages[0].parts[2].embedding.fingerprint", "messages[0].parts[2].embedding.fingerprint"),
        ("messages[0].parts[0].text", "messages[0].parts[0].text"),
        ("messages[10].parts[1].embedding", "messages[10].parts[1].embedding"),
        ("sampling.top_k", "sampling.top_k"),
        ("", ""),
    ],
)
async def test_the_decoders_error_names_the_callers_part(lab: Lab, field: str, expected: str) -> None:
    lab.decoder.answer = failing_after(FingerprintError("Not accepted.", field=field))  # type: ignore[assignment]
    with refused() as refusal:
        await lab.ask(text(), image(), gateway_pb2.Part(embedding=image_embedding(b"x")))
    assert isinstance(refusal.error, FingerprintError)
    assert refusal.error.field == expected


async def test_an_error_in_mid_stream_follows_the_tokens(lab: Lab) -> None:
    error = UnavailableError("The engine is gone.", retry_after_s=1)
    lab.decoder.answer = failing_after(error, STARTED, chunk("Hel", 1))  # type: ignore[assignment]
    events = []
    with refused() as refusal:
        async for event in lab.stub.Chat(chat_request(text()), timeout=30):
            events.append(event)
    assert kinds(events) == ["started", "token"]
    assert isinstance(refusal.error, UnavailableError)


@pytest.mark.parametrize("events", [(), (STARTED,), (STARTED, chunk("Hel", 1))])
async def test_an_answer_that_just_ends_has_failed(lab: Lab, events: tuple[decoder_pb2.GenerateResponse, ...]) -> None:
    lab.decoder.answer = failing_after(None, *events)  # type: ignore[assignment]
    with refused() as refusal:
        await lab.ask(text())
    assert isinstance(refusal.error, UnavailableError)
    assert refusal.error.retry_after_s is not None


async def test_nothing_follows_the_last_event(lab: Lab) -> None:
    async def talkative(request: decoder_pb2.GenerateRequest) -> Events:
        async for event in hello(request):
            yield event
        yield chunk("more", 9)

    lab.decoder.answer = talkative
    assert kinds(await lab.ask(text())) == ["started", "token", "token", "finished"]


async def test_get_model_tells_the_decoders_limits_and_its_own(lab: Lab) -> None:
    model = await lab.stub.GetModel(gateway_pb2.OmniServiceGetModelRequest())
    assert (model.model, model.context_tokens, model.max_images, model.max_audios) == ("fake", 64, 3, 2)
    assert model.max_request_bytes == 64 * 1024 * 1024
