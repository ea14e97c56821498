"""What was asked: an ordered conversation of text, images and sounds, checked.

Everything is bounded here, before anything is allocated for it. Knows the layout of media, not their values; knows
nothing of tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trichord.errors import ContextLengthError, RequestError
from trichord.v1 import decoder_pb2, tensor_pb2

MAX_PARTS = 4096
"""Parts of all messages together: far above any conversation, far below what would hold the front up."""

ROLES = {
    decoder_pb2.ROLE_SYSTEM: "system",
    decoder_pb2.ROLE_USER: "user",
    decoder_pb2.ROLE_ASSISTANT: "assistant",
}


@dataclass(frozen=True)
class Image:
    """An image's layout: a global view, then ``rows`` rows of ``cols`` slices; 0 and 0 if it was not sliced."""

    cols: int
    rows: int
    tokens_per_tile: int

    @property
    def num_tokens(self) -> int:
        """Embedding rows."""
        return self.tokens_per_tile * (1 + self.cols * self.rows)


@dataclass(frozen=True)
class Sound:
    """A sound's layout: the embedding rows of each window."""

    windows: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Embedding rows."""
        return sum(self.windows)


@dataclass(frozen=True)
class Message:
    """One message: who speaks, and its parts in order; a string is text."""

    role: str
    parts: tuple[str | Image | Sound, ...]


@dataclass(frozen=True)
class Limits:
    """What a conversation may hold."""

    context_tokens: int
    tokens_per_tile: int
    max_images: int
    max_audios: int
    max_text_bytes: int


def parse(messages: Sequence[decoder_pb2.DecoderMessage], limits: Limits) -> list[Message]:
    """The checked conversation.

    Raises RequestError naming ``messages[i].parts[j]...``, or ContextLengthError if the media alone do not fit.
    """
    if not messages:
        raise RequestError("A conversation has at least one message.", field="messages")
    _check_amounts(messages, limits)
    parsed = [_message(message, f"messages[{i}]", limits) for i, message in enumerate(messages)]
    _check_roles(parsed)
    num_media_tokens = sum(layout.num_tokens for layout in media(parsed))
    if num_media_tokens >= limits.context_tokens:
        message = f"The media alone have {num_media_tokens} tokens; the model fits {limits.context_tokens}."
        raise ContextLengthError(f"{message} Send fewer or shorter ones.", field="messages")
    return parsed


def embeddings(messages: Sequence[decoder_pb2.DecoderMessage]) -> Iterator[tuple[str, tensor_pb2.Embedding]]:
    """The embeddings of a conversation in order, each with its path in the request."""
    for i, message in enumerate(messages):
        for j, part in enumerate(message.parts):
            if part.HasField("embedding"):
                yield f"messages[{i}].parts[{j}].embedding", part.embedding


def media(messages: Sequence[Message]) -> list[Image | Sound]:
    """The layouts of a conversation's media, in the order of its embeddings."""
    return [part for message in messages for part in message.parts if not isinstance(part, str)]


def _message(message: decoder_pb2.DecoderMessage, field: str, limits: Limits) -> Message:
    if message.role not in ROLES:
        raise RequestError("The role is ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT.", field=f"{field}.role")
    if not message.parts:
        raise RequestError("A message has at least one part.", field=f"{field}.parts")
    parts = tuple(_part(part, f"{field}.parts[{j}]", limits) for j, part in enumerate(message.parts))
    return Message(ROLES[message.role], parts)


def _part(part: decoder_pb2.DecoderPart, field: str, limits: Limits) -> str | Image | Sound:
    match part.WhichOneof("part"):
        case "text":
            return part.text
        case "embedding":
            return _layout(part.embedding, f"{field}.embedding", limits)
    raise RequestError("A part is a text or an embedding.", field=field)


def _layout(embedding: tensor_pb2.Embedding, field: str, limits: Limits) -> Image | Sound:
    match embedding.modality, embedding.WhichOneof("layout"):
        case tensor_pb2.MODALITY_IMAGE, "grid":
            return _image(embedding.grid, f"{field}.grid", limits)
        case tensor_pb2.MODALITY_AUDIO, "windows":
            return _sound(embedding.windows, f"{field}.windows", limits)
    message = "An embedding's modality is MODALITY_IMAGE with a grid, or MODALITY_AUDIO with windows."
    raise RequestError(message, field=f"{field}.modality")


def _image(grid: tensor_pb2.ImageGrid, field: str, limits: Limits) -> Image:
    if min(grid.cols, grid.rows) < 0 or (grid.cols == 0) != (grid.rows == 0):
        raise RequestError("A grid has columns and rows, or 0 of both.", field=f"{field}.cols")
    if grid.tokens_per_tile != limits.tokens_per_tile:
        message = f"This model has {limits.tokens_per_tile} rows a tile."
        raise RequestError(message, field=f"{field}.tokens_per_tile")
    return Image(grid.cols, grid.rows, grid.tokens_per_tile)


def _sound(windows: tensor_pb2.AudioWindows, field: str, limits: Limits) -> Sound:
    if not 1 <= len(windows.tokens) <= limits.context_tokens or min(windows.tokens) < 1:
        message = "A sound has at least one window and each at least one row, and no more than fit the model."
        raise RequestError(message, field=f"{field}.tokens")
    return Sound(tuple(windows.tokens))


def _check_roles(messages: Sequence[Message]) -> None:
    for i, message in enumerate(messages[1:], start=1):
        if message.role == "system":
            raise RequestError("Only the first message may be from the system.", field=f"messages[{i}].role")
    if messages[-1].role != "user":
        raise RequestError("The last message is from the user.", field=f"messages[{len(messages) - 1}].role")


def _check_amounts(messages: Sequence[decoder_pb2.DecoderMessage], limits: Limits) -> None:
    if len(messages) > MAX_PARTS or sum(len(message.parts) for message in messages) > MAX_PARTS:
        raise RequestError(f"A conversation has at most {MAX_PARTS} parts.", field="messages")
    text_bytes = sum(len(part.text.encode()) for message in messages for part in message.parts)
    if text_bytes > limits.max_text_bytes:
        message = f"The texts have {text_bytes} bytes together; at most {limits.max_text_bytes} are taken."
        raise RequestError(message, field="messages")
    most = {tensor_pb2.MODALITY_IMAGE: limits.max_images, tensor_pb2.MODALITY_AUDIO: limits.max_audios}
    counts: Counter[int] = Counter()
    for field, embedding in embeddings(messages):
        counts[embedding.modality] += 1
        if counts[embedding.modality] > most.get(embedding.modality, MAX_PARTS):
            message = f"A request holds at most {limits.max_images} images and {limits.max_audios} sounds."
            raise RequestError(message, field=field)
