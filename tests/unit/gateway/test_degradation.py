"""What becomes of a request whose encoder is away: it fails, waits, or is answered without the medium."""

from __future__ import annotations

import asyncio

import pytest

from gateway.degradation import NOTES
from tests.unit.gateway.fakes import raising
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, refused, text
from trichord.errors import MediaError, OverloadedError, UnavailableError
from trichord.v1 import gateway_pb2, tensor_pb2

FAIL, WAIT = gateway_pb2.DEGRADATION_FAIL, gateway_pb2.DEGRADATION_WAIT
WITHOUT = gateway_pb2.DEGRADATION_ANSWER_WITHOUT
AWAY = UnavailableError("The vision encoder does not answer.", retry_after_s=0.01)
FULL = OverloadedError("The vision encoder is full.", retry_after_s=0.01)


@pytest.mark.parametrize("degradation", [gateway_pb2.DEGRADATION_UNSPECIFIED, FAIL])
async def test_unless_told_otherwise_it_fails_naming_the_part(lab: Lab, degradation: gateway_pb2.Degradation) -> None:
    lab.vision.step = raising(FULL)
    with refused() as refusal:
        await lab.chat(chat_request(text(), image(), degradation=degradation))
    assert isinstance(refusal.error, OverloadedError)
    assert refusal.error.field == "messages[0].parts[1].image_bytes"


@pytest.mark.parametrize("error", [AWAY, FULL])
async def test_waiting_goes_on_until_the_encoder_is_back(lab: Lab, error: Exception) -> None:
    num_left = 5

    async def comes_back(content: bytes) -> None:
        nonlocal num_left
        num_left -= 1
        if num_left:
            raise error

    lab.vision.step = comes_back
    events = await lab.chat(chat_request(image(), degradation=WAIT))
    assert kinds(events)[-1] == "finished"
    assert num_left == 0


async def test_waiting_ends_with_the_deadline(lab: Lab) -> None:
    lab.vision.step = raising(FULL)
    with refused() as refusal:
        await lab.chat(chat_request(image(), degradation=WAIT), timeout_s=0.7)
    assert refusal.code.name in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
    assert len(lab.vision.calls.requests) > 1


async def test_an_answer_without_a_medium_says_so_and_has_a_note_in_its_place(lab: Lab) -> None:
    lab.vision.step = raising(FULL)
    request = chat_request(text("a"), image(), audio(), text("b"), degradation=WITHOUT)
    events = await lab.chat(request)
    (skipped,) = [event.item_skipped for event in events if event.HasField("item_skipped")]
    assert (skipped.message_index, skipped.part_index) == (0, 1)
    assert "vision encoder" in skipped.reason
    parts = lab.decoder.calls.requests[0].messages[0].parts
    assert [part.WhichOneof("part") for part in parts] == ["text", "text", "embedding", "text"]
    assert parts[1].text == NOTES[tensor_pb2.MODALITY_IMAGE]
    assert events[-1].finished.usage.images == 0


@pytest.mark.parametrize("degradation", [FAIL, WAIT, WITHOUT])
async def test_a_medium_that_is_wrong_always_fails(lab: Lab, degradation: gateway_pb2.Degradation) -> None:
    lab.vision.step = raising(MediaError("Not an image."))
    with refused() as refusal:
        await asyncio.wait_for(lab.chat(chat_request(image(), degradation=degradation)), 20)
    assert type(refusal.error) is MediaError
    assert len(lab.vision.calls.requests) == 1
