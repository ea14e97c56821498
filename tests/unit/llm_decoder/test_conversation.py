from __future__ import annotations

import pytest

from llm_decoder.conversation import Image, Limits, Message, Sound, embeddings, media, parse
from trichord.errors import ContextLengthError, RequestError
from trichord.v1.decoder_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_USER, DecoderMessage, DecoderPart, Role
from trichord.v1.tensor_pb2 import (
    MODALITY_AUDIO,
    MODALITY_IMAGE,
    MODALITY_TEXT,
    AudioWindows,
    Embedding,
    ImageGrid,
    Modality,
)

LIMITS = Limits(context_tokens=100, tokens_per_tile=4, max_images=2, max_audios=1, max_text_bytes=50)


def message(role: Role, *parts: str | Embedding) -> DecoderMessage:
    made = [DecoderPart(text=part) if isinstance(part, str) else DecoderPart(embedding=part) for part in parts]
    return DecoderMessage(role=role, parts=made)


def image(cols: int = 0, rows: int = 0, tokens_per_tile: int = 4, modality: Modality = MODALITY_IMAGE) -> Embedding:
    return Embedding(modality=modality, grid=ImageGrid(cols=cols, rows=rows, tokens_per_tile=tokens_per_tile))


def sound(*windows: int, modality: Modality = MODALITY_AUDIO) -> Embedding:
    return Embedding(modality=modality, windows=AudioWindows(tokens=windows))


def user(*parts: str | Embedding) -> list[DecoderMessage]:
    return [message(ROLE_USER, *parts)]


def test_parts_keep_their_order() -> None:
    messages = [message(ROLE_SYSTEM, "s"), *user("a", image(2, 3), "b", sound(3, 1), image())]
    parsed = parse(messages, LIMITS)
    assert parsed == [
        Message("system", ("s",)),
        Message("user", ("a", Image(2, 3, 4), "b", Sound((3, 1)), Image(0, 0, 4))),
    ]
    assert [layout.num_tokens for layout in media(parsed)] == [28, 4, 4]
    assert [field for field, _ in embeddings(messages)] == [
        "messages[1].parts[1].embedding",
        "messages[1].parts[3].embedding",
        "messages[1].parts[4].embedding",
    ]


BAD: dict[str, tuple[list[DecoderMessage], str]] = {
    "no message": ([], "messages"),
    "no role": ([*user("a"), message(0, "b")], "messages[1].role"),
    "unknown role": ([message(7, "b")], "messages[0].role"),
    "system later": ([*user("a"), message(ROLE_SYSTEM, "b"), *user("c")], "messages[1].role"),
    "assistant last": ([*user("a"), message(ROLE_ASSISTANT, "b")], "messages[1].role"),
    "system only": ([message(ROLE_SYSTEM, "b")], "messages[0].role"),
    "no part": ([*user("a"), message(ROLE_ASSISTANT), *user("a")], "messages[1].parts"),
    "empty part": ([DecoderMessage(role=ROLE_USER, parts=[DecoderPart()])], "messages[0].parts[0]"),
    "too many parts": (user(*["a"] * 4097), "messages"),
    "too many messages": ([DecoderMessage()] * 4097, "messages"),
    "too much text": (user("a" * 30, "é" * 11), "messages"),
    "too many images": (user("a", image(), image(), image()), "messages[0].parts[3].embedding"),
    "too many sounds": (user(sound(1)) + user(sound(1)), "messages[1].parts[0].embedding"),
    "no modality": (user(image(modality=0)), "messages[0].parts[0].embedding.modality"),
    "text modality": (user(image(modality=MODALITY_TEXT)), "messages[0].parts[0].embedding.modality"),
    "image without grid": (user(sound(1, modality=MODALITY_IMAGE)), "messages[0].parts[0].embedding.modality"),
    "sound without windows": (user(image(modality=MODALITY_AUDIO)), "messages[0].parts[0].embedding.modality"),
    "no layout": (user(Embedding(modality=MODALITY_IMAGE)), "messages[0].parts[0].embedding.modality"),
    "columns without rows": (user(image(2, 0)), "messages[0].parts[0].embedding.grid.cols"),
    "rows without columns": (user(image(0, 2)), "messages[0].parts[0].embedding.grid.cols"),
    "negative grid": (user(image(-2, -2)), "messages[0].parts[0].embedding.grid.cols"),
    "other tile": (user(image(tokens_per_tile=5)), "messages[0].parts[0].embedding.grid.tokens_per_tile"),
    "no window": (user(sound()), "messages[0].parts[0].embedding.windows.tokens"),
    "empty window": (user(sound(4, 0)), "messages[0].parts[0].embedding.windows.tokens"),
    "negative window": (user(sound(4, -1)), "messages[0].parts[0].embedding.windows.tokens"),
    "too many windows": (user(sound(*[1] * 101)), "messages[0].parts[0].embedding.windows.tokens"),
}


@pytest.mark.parametrize(("messages", "field"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_named(messages: list[DecoderMessage], field: str) -> None:
    with pytest.raises(RequestError) as error:
        parse(messages, LIMITS)
    assert error.value.field == field
    assert error.value.message


@pytest.mark.parametrize("embedding", [image(2**31 - 1, 2**31 - 1), image(24, 1), sound(2**31 - 1), sound(60, 40)])
def test_media_that_cannot_fit_are_refused_before_anything_is_made_of_them(embedding: Embedding) -> None:
    with pytest.raises(ContextLengthError, match=r"\d+ tokens; the model fits 100") as error:
        parse(user(embedding), LIMITS)
    assert error.value.field == "messages"


def test_an_assistants_empty_answer_is_text() -> None:
    assert parse([*user("a"), message(ROLE_ASSISTANT, ""), *user("b")], LIMITS)[1] == Message("assistant", ("",))
