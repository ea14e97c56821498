"""What the gateway asks the decoder before it pays for encoding, and that the real decoder front understands it."""

from __future__ import annotations

import pytest

from gateway import conversation
from gateway.conversation import Item
from llm_decoder.intake import Intake
from llm_decoder.settings import DecoderSettings
from llm_decoder.vocabulary import Vocabulary
from tests.unit.gateway.fakes import audio_embedding, image_embedding
from tests.unit.gateway.lab import audio, chat_request, image, message, text
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.errors import ContextLengthError, RequestError
from trichord.model_config import ModelConfig
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

MODALITIES = {"image_bytes": tensor_pb2.MODALITY_IMAGE, "audio_bytes": tensor_pb2.MODALITY_AUDIO}


@pytest.fixture(scope="session")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Intake:
    """The decoder front's checks over the preset tiny."""
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    init(PRESETS["tiny"], directory, seed=0)
    config = ModelConfig.read(directory)
    settings = DecoderSettings(checkpoint=directory, triton="", max_images=2, max_audios=1)
    return Intake(config, settings, Vocabulary.read(directory, config.llm.vocab_size), [])


def outlined(request: gateway_pb2.ChatRequest, intake: Intake) -> decoder_pb2.CountTokensRequest:
    items = [
        Item.at(place, MODALITIES[place.part.WhichOneof("part")], b"x") for place in conversation.media_places(request)
    ]
    messages = conversation.outline(request, items, intake.limits.tokens_per_tile)
    return decoder_pb2.CountTokensRequest(messages=messages, sampling=request.sampling)


def test_the_decoder_counts_the_smallest_media(intake: Intake) -> None:
    prompt = intake.count(outlined(chat_request(text("hi"), image(), audio()), intake))
    assert (prompt.num_image_tokens, prompt.num_audio_tokens) == (intake.limits.tokens_per_tile, 1)


def test_the_decoder_counts_the_callers_embeddings_without_their_rows(intake: Intake) -> None:
    brought = image_embedding(b"x", cols=2, rows=1)
    brought.grid.tokens_per_tile = intake.limits.tokens_per_tile
    request = chat_request(gateway_pb2.Part(embedding=brought), gateway_pb2.Part(embedding=audio_embedding(b"x")))
    counted = outlined(request, intake)
    prompt = intake.count(counted)
    assert (prompt.num_image_tokens, prompt.num_audio_tokens) == (3 * intake.limits.tokens_per_tile, 5)
    assert all(not part.embedding.HasField("values") for part in counted.messages[0].parts)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (chat_request(image(), image(), image()), "messages[0].parts[2].embedding"),
        (gateway_pb2.ChatRequest(messages=[message(image(), role=decoder_pb2.ROLE_ASSISTANT)]), "messages[0].role"),
        (chat_request(image(), sampling=decoder_pb2.SamplingParams(temperature=9)), "sampling.temperature"),
    ],
)
def test_the_decoder_refuses_what_no_media_could_mend(
    intake: Intake, request_: gateway_pb2.ChatRequest, field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        intake.count(outlined(request_, intake))
    assert caught.value.field == field


def test_the_decoder_refuses_text_over_the_context(intake: Intake) -> None:
    request = chat_request(image(), text("word " * intake.limits.context_tokens))
    with pytest.raises(ContextLengthError):
        intake.count(outlined(request, intake))
