"""The served model, against a scripted gateway on the real server library."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.trichord_client.scripted import ScriptedGateway
from trichord import server
from trichord.client import OmniClient
from trichord.errors import MediaError
from trichord.settings import ServiceSettings
from trichord_training.evaluation.sample import Sample
from trichord_training.evaluation.served import ServedModel


@pytest.fixture
async def script() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
async def model(script: ScriptedGateway) -> AsyncIterator[ServedModel]:
    running = await server.start(script.register, ServiceSettings())
    async with OmniClient(f"127.0.0.1:{running.port}") as client:
        yield ServedModel(client)
    await running.server.stop(0)


async def test_media_go_before_the_text_and_the_answer_is_greedy(script: ScriptedGateway, model: ServedModel) -> None:
    sample = Sample("two-images", 0, "Which?", "", (b"first", b"second"), b"sound")
    assert await model.answer(sample) == "Which?"  # the gateway says texts back
    (request,) = [seen.request for seen in script.seen]
    (message,) = request.messages
    assert [part.WhichOneof("part") for part in message.parts] == ["image_bytes", "image_bytes", "audio_bytes", "text"]
    assert [message.parts[0].image_bytes, message.parts[1].image_bytes] == [b"first", b"second"]
    assert (request.sampling.temperature, request.sampling.HasField("temperature")) == (0, True)
    assert request.sampling.max_tokens == 32


async def test_a_text_goes_alone_even_if_it_is_empty(script: ScriptedGateway, model: ServedModel) -> None:
    assert await model.answer(Sample("speech", 0, "", "")) == ""
    assert [part.WhichOneof("part") for part in script.seen[0].request.messages[0].parts] == ["text"]


async def test_its_identity_is_that_of_its_encoders(script: ScriptedGateway, model: ServedModel) -> None:
    identity = await model.identity()
    assert (identity.model, identity.fingerprints) == ("tiny", {"vision": "f", "audio": "f"})
    encoded = [seen.request.part for seen in script.seen if seen.method == "Encode"]
    assert encoded[0].image_bytes.startswith(b"\x89PNG")
    assert encoded[1].audio_bytes.startswith(b"RIFF")


async def test_what_the_gateway_refuses_is_its_own_error(model: ServedModel) -> None:
    with pytest.raises(MediaError):
        await model.answer(Sample("shape", 0, "Which?", "", (b"bad",)))
