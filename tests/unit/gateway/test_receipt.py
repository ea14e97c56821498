"""Usage and receipt: sums over what was encoded here and what the caller brought."""

from __future__ import annotations

import asyncio

import hypothesis
import pytest
from hypothesis import strategies as st

from gateway.conversation import Item
from gateway.encoding import Encoded
from gateway.receipt import Receipt, item_receipt
from tests.unit.gateway.fakes import (
    DECODER_TIMINGS,
    FINISHED,
    TIMINGS,
    audio_embedding,
    image_embedding,
)
from tests.unit.gateway.lab import Lab, audio, chat_request, image, message, text
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

IMAGE, AUDIO = tensor_pb2.MODALITY_IMAGE, tensor_pb2.MODALITY_AUDIO

images = st.builds(lambda side: image_embedding(b"I", *side), st.sampled_from([(0, 0), (1, 2), (2, 1), (3, 3)]))
sounds = st.builds(lambda size: audio_embedding(b"A" * size), st.integers(1, 9))
embeddings = st.lists(images | sounds, max_size=6)
milliseconds = st.floats(0, 1e5)


def encoded(embedding: tensor_pb2.Embedding, index: int = 0, round_trip_ms: float = 10) -> Encoded:
    item = Item(0, index, f"messages[0].parts[{index}].media_handle", embedding.modality, b"")
    source = gateway_pb2.EMBEDDING_SOURCE_ENCODED
    return Encoded(item, embedding, source, timings=TIMINGS, round_trip_ms=round_trip_ms)


@hypothesis.given(made=embeddings, brought=embeddings)
def test_usage_counts_every_medium_once(made: list[tensor_pb2.Embedding], brought: list[tensor_pb2.Embedding]) -> None:
    finished = Receipt("0" * 32).finished(FINISHED.finished, [encoded(e) for e in made], brought)
    every = made + brought
    image_rows = [len(e.values.data) // 16 for e in every if e.modality == IMAGE]
    usage = finished.usage
    assert usage.images == len(image_rows)
    assert usage.image_tiles * 2 == sum(image_rows)  # the fakes make 2 rows of 4 float32 from a tile
    assert usage.audio_seconds == pytest.approx(sum(e.windows.seconds for e in every if e.modality == AUDIO))
    assert usage.cache_hits == len(brought)
    assert usage.prompt_tokens == FINISHED.finished.prompt_tokens
    assert usage.completion_tokens == FINISHED.finished.completion_tokens
    assert [item.tokens for item in finished.receipt.items] == [len(e.values.data) // 16 for e in made]


@hypothesis.given(queue_ms=milliseconds, decode_ms=milliseconds, model_ms=milliseconds, round_trip_ms=milliseconds)
def test_the_stages_of_an_item_sum_to_its_round_trip(
    queue_ms: float, decode_ms: float, model_ms: float, round_trip_ms: float
) -> None:
    timings = tensor_pb2.EncodeTimings(queue_ms=queue_ms, decode_ms=decode_ms, model_ms=model_ms)
    receipt = item_receipt(encoded(image_embedding(b"I"))._replace(timings=timings, round_trip_ms=round_trip_ms))
    inside_ms = queue_ms + decode_ms + model_ms
    assert (receipt.queue_ms, receipt.decode_ms, receipt.encode_ms) == (queue_ms, decode_ms, model_ms)
    assert receipt.transfer_ms >= 0
    assert inside_ms + receipt.transfer_ms == pytest.approx(max(inside_ms, round_trip_ms))


@pytest.mark.parametrize(("side", "units"), [((0, 0), 1), ((1, 2), 3), ((3, 3), 10)])
def test_units_of_an_image_are_its_tiles(side: tuple[int, int], units: int) -> None:
    assert item_receipt(encoded(image_embedding(b"I", *side))).units == units


def test_units_of_a_sound_are_its_windows() -> None:
    assert item_receipt(encoded(audio_embedding(b"A"))).units == 2


def test_the_first_token_is_noted_once() -> None:
    receipt = Receipt("0" * 32)
    receipt.first_token()
    first_ms = receipt.stages.first_token_ms
    receipt.first_token()
    assert 0 < first_ms == receipt.stages.first_token_ms


async def test_the_receipt_of_a_chat_is_complete_and_in_order(lab: Lab) -> None:
    image_is_told = asyncio.Event()

    async def comes_last(content: bytes) -> None:
        await image_is_told.wait()

    lab.audio.step = comes_last
    brought = gateway_pb2.Part(embedding=image_embedding(b"b", cols=2, rows=1))
    request = gateway_pb2.ChatRequest(
        messages=[
            message(text(), audio(b"two"), brought),
            message(text(), role=decoder_pb2.ROLE_ASSISTANT),
            message(image(), text()),
        ]
    )
    events = []
    async for event in lab.stub.Chat(request, timeout=30):
        events.append(event)
        if event.HasField("item_encoded"):
            image_is_told.set()
    finished = events[-1].finished
    stages = finished.receipt
    assert [(item.modality, item.message_index, item.part_index) for item in stages.items] == [
        (AUDIO, 0, 1),
        (IMAGE, 2, 0),
    ]
    told = {
        event.item_encoded.message_index: event.item_encoded.receipt
        for event in events
        if event.HasField("item_encoded")
    }
    assert told == {item.message_index: item for item in stages.items}
    assert stages.decoder == DECODER_TIMINGS
    assert len(stages.trace_id) == 32
    assert 0 < stages.admit_ms < stages.first_token_ms < stages.total_ms
    assert 0 < stages.encode_ms < stages.total_ms
    assert stages.merge_ms > 0
    usage = finished.usage
    assert (usage.images, usage.image_tiles, usage.audio_seconds, usage.cache_hits) == (2, 4, 4.5, 1)


async def test_text_spends_no_time_on_encoding(lab: Lab) -> None:
    (*_, last) = await lab.chat(chat_request(text()))
    assert last.finished.receipt.encode_ms == 0
    assert list(last.finished.receipt.items) == []
