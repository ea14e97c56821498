"""A chat request, checked and taken apart: which parts are media, and what the decoder gets.

Pure. Knows the contract; knows nothing of services, tokens or templates (the decoder checks roles and context).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from gateway.settings import GatewaySettings
from trichord import request_id
from trichord.errors import RequestError
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

MAX_LOOKED_AT = 1024
"""Parts that ``modalities`` looks at: it is asked of requests, too, that nobody has checked."""


class Place(NamedTuple):
    """A part of the request that is a medium, and where it stands."""

    message_index: int
    part_index: int
    field: str
    """Path of the part in the request, e.g. ``messages[0].parts[2].image_bytes``."""
    part: gateway_pb2.Part


class Item(NamedTuple):
    """One image or sound that has to be encoded."""

    message_index: int
    part_index: int
    field: str
    """Path of the part in the request, e.g. ``messages[0].parts[2].image_bytes``."""
    modality: tensor_pb2.Modality
    content: bytes
    """The file; empty as long as it is to be fetched from ``url``."""
    url: str = ""
    fetch_ms: float = 0.0
    """What finding the bytes took."""

    @classmethod
    def at(cls, place: Place, modality: tensor_pb2.Modality, content: bytes = b"") -> Item:
        """The medium that stands somewhere."""
        return cls(place.message_index, place.part_index, place.field, modality, content)

    @property
    def indices(self) -> tuple[int, int]:
        """Of its message and part."""
        return self.message_index, self.part_index


def check(request: gateway_pb2.ChatRequest, settings: GatewaySettings) -> None:
    """Raises RequestError if the request has no messages, too many, or an empty part."""
    if not 0 < len(request.messages) <= settings.max_messages:
        raise RequestError(f"A conversation has 1 to {settings.max_messages} messages.", field="messages")
    if sum(len(message.parts) for message in request.messages) > settings.max_parts:
        raise RequestError(f"A conversation has at most {settings.max_parts} parts.", field="messages")
    request_id.check(request.request_id)
    for path, part in _parts(request):
        kind = part.WhichOneof("part")
        if kind is None:
            raise RequestError("A part is text, an image, a sound, a handle or an embedding; this is none.", field=path)


def media_places(request: gateway_pb2.ChatRequest) -> list[Place]:
    """The parts that have to be encoded, in order."""
    return [
        Place(i, j, f"messages[{i}].parts[{j}].{kind}", part)
        for i, message in enumerate(request.messages)
        for j, part in enumerate(message.parts)
        if (kind := part.WhichOneof("part")) not in ("text", "embedding")
    ]


def modalities(request: gateway_pb2.ChatRequest) -> set[tensor_pb2.Modality]:
    """What the request brings beside text, as far as its parts say so themselves: of a handle only the store knows."""
    parts = (part for message in request.messages for part in message.parts)
    return {_modality(part) for part in islice(parts, MAX_LOOKED_AT)}


def opening(messages: Sequence[decoder_pb2.DecoderMessage]) -> Sequence[decoder_pb2.DecoderMessage]:
    """What stays the same from turn to turn: the messages up to the first that is the user's."""
    users = (i for i, message in enumerate(messages) if message.role == decoder_pb2.ROLE_USER)
    return messages[: next(users, len(messages)) + 1]


def merge(
    request: gateway_pb2.ChatRequest,
    embeddings: Mapping[tuple[int, int], tensor_pb2.Embedding],
    notes: Mapping[tuple[int, int], str],
) -> list[decoder_pb2.DecoderMessage]:
    """The decoder's messages: every part in its place, media replaced by the embedding or the note of its indices."""
    messages = []
    for i, message in enumerate(request.messages):
        merged = decoder_pb2.DecoderMessage(role=message.role)
        for j, part in enumerate(message.parts):
            if (note := notes.get((i, j), part.text)) or part.WhichOneof("part") == "text":
                merged.parts.add(text=note)
            else:
                merged.parts.add(embedding=embeddings.get((i, j), part.embedding))
        messages.append(merged)
    return messages


def outline(
    request: gateway_pb2.ChatRequest, items: Sequence[Item], tokens_per_tile: int
) -> list[decoder_pb2.DecoderMessage]:
    """The decoder's messages before anything is encoded: layouts without rows, of ``items`` the smallest possible."""
    layouts = {
        (i, j): layout_only(part.embedding)
        for i, message in enumerate(request.messages)
        for j, part in enumerate(message.parts)
        if part.WhichOneof("part") == "embedding"
    }
    for item in items:
        layouts[item.indices] = smallest_layout(item.modality, tokens_per_tile)
    return merge(request, layouts, {})


def layout_only(embedding: tensor_pb2.Embedding) -> tensor_pb2.Embedding:
    """An embedding without its rows."""
    bare = tensor_pb2.Embedding(fingerprint=embedding.fingerprint, modality=embedding.modality)
    match embedding.WhichOneof("layout"):
        case "grid":
            bare.grid.CopyFrom(embedding.grid)
        case "windows":
            bare.windows.CopyFrom(embedding.windows)
    return bare


def smallest_layout(modality: tensor_pb2.Modality, tokens_per_tile: int) -> tensor_pb2.Embedding:
    """A layout no larger than that of any image or sound: one tile, or one window of one row."""
    if modality == tensor_pb2.MODALITY_IMAGE:
        return tensor_pb2.Embedding(modality=modality, grid=tensor_pb2.ImageGrid(tokens_per_tile=tokens_per_tile))
    return tensor_pb2.Embedding(modality=modality, windows=tensor_pb2.AudioWindows(tokens=[1]))


def _modality(part: gateway_pb2.Part) -> tensor_pb2.Modality:
    match part.WhichOneof("part"):
        case "image_bytes" | "image_url":
            return tensor_pb2.MODALITY_IMAGE
        case "audio_bytes":
            return tensor_pb2.MODALITY_AUDIO
    return part.embedding.modality


def _parts(request: gateway_pb2.ChatRequest) -> Iterator[tuple[str, gateway_pb2.Part]]:
    for i, message in enumerate(request.messages):
        for j, part in enumerate(message.parts):
            yield f"messages[{i}].parts[{j}]", part
