"""A chat request, checked and taken apart: which parts are media, and what the decoder gets.

Pure. Knows the contract; knows nothing of services, tokens or templates (the decoder checks roles and context).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.media_store import MediaStore
from gateway.settings import GatewaySettings
from trichord.errors import RequestError, TrichordError
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

_TENANT = ""  # one tenant until callers are known by key


class Item(NamedTuple):
    """One image or sound that has to be encoded."""

    message_index: int
    part_index: int
    field: str
    """Path of the part in the request, e.g. ``messages[0].parts[2].image_bytes``."""
    modality: tensor_pb2.Modality
    content: bytes


def check(request: gateway_pb2.ChatRequest, settings: GatewaySettings) -> None:
    """Raises RequestError if the request has no messages, too many, or an empty part."""
    if not 0 < len(request.messages) <= settings.max_messages:
        raise RequestError(f"A conversation has 1 to {settings.max_messages} messages.", field="messages")
    if sum(len(message.parts) for message in request.messages) > settings.max_parts:
        raise RequestError(f"A conversation has at most {settings.max_parts} parts.", field="messages")
    if len(request.request_id) > 128:
        raise RequestError("A request id has at most 128 characters.", field="request_id")
    for path, part in _parts(request):
        kind = part.WhichOneof("part")
        if kind is None:
            raise RequestError("A part is text, an image, a sound, a handle or an embedding; this is none.", field=path)
        if kind == "image_url":
            raise RequestError(
                "This deployment fetches no addresses. Send the bytes or a media handle.", field=f"{path}.{kind}"
            )


def media_items(request: gateway_pb2.ChatRequest, store: MediaStore) -> list[Item]:
    """The parts to encode, in order. Raises NotFoundError for a handle that is not there."""
    items = []
    for i, message in enumerate(request.messages):
        for j, part in enumerate(message.parts):
            field = f"messages[{i}].parts[{j}].{part.WhichOneof('part')}"
            match part.WhichOneof("part"):
                case "image_bytes":
                    items.append(Item(i, j, field, tensor_pb2.MODALITY_IMAGE, part.image_bytes))
                case "audio_bytes":
                    items.append(Item(i, j, field, tensor_pb2.MODALITY_AUDIO, part.audio_bytes))
                case "media_handle":
                    try:
                        media = store.get(_TENANT, part.media_handle)
                    except TrichordError as error:
                        raise error.at(field) from error
                    items.append(Item(i, j, field, media.modality, media.content))
    return items


def put_media(request: gateway_pb2.PutMediaRequest, store: MediaStore) -> gateway_pb2.PutMediaResponse:
    """Keeps the request's media. Raises RequestError for empty media or a ttl out of range."""
    kind = request.WhichOneof("media")
    if kind is None or not getattr(request, kind):
        raise RequestError("There is no media to keep.", field=kind or "media")
    ttl_s = request.ttl.ToMilliseconds() / 1000 if request.HasField("ttl") else 600.0
    if not 1 <= ttl_s <= 3600:
        raise RequestError("A ttl is 1 second to 1 hour.", field="ttl")
    modality = tensor_pb2.MODALITY_IMAGE if kind == "image_bytes" else tensor_pb2.MODALITY_AUDIO
    handle, media = store.put(_TENANT, modality, getattr(request, kind), ttl_s)
    response = gateway_pb2.PutMediaResponse(media_handle=handle, content_sha256=media.content_sha256)
    response.expire_time.FromMilliseconds(int(media.expires_s * 1000))
    return response


def merge(
    request: gateway_pb2.ChatRequest, embeddings: Mapping[tuple[int, int], tensor_pb2.Embedding]
) -> list[decoder_pb2.DecoderMessage]:
    """The decoder's messages: every part in its place, media replaced by the embedding of its indices."""
    messages = []
    for i, message in enumerate(request.messages):
        merged = decoder_pb2.DecoderMessage(role=message.role)
        for j, part in enumerate(message.parts):
            if part.WhichOneof("part") == "text":
                merged.parts.add(text=part.text)
            else:
                merged.parts.add(embedding=embeddings[i, j] if (i, j) in embeddings else part.embedding)
        messages.append(merged)
    return messages


def smallest_layout(modality: tensor_pb2.Modality, tokens_per_tile: int) -> tensor_pb2.Embedding:
    """The layout of the smallest embedding that any image or sound becomes: one tile, or one window of one row."""
    if modality == tensor_pb2.MODALITY_IMAGE:
        return tensor_pb2.Embedding(modality=modality, grid=tensor_pb2.ImageGrid(tokens_per_tile=tokens_per_tile))
    return tensor_pb2.Embedding(modality=modality, windows=tensor_pb2.AudioWindows(tokens=[1]))


def _parts(request: gateway_pb2.ChatRequest) -> Iterator[tuple[str, gateway_pb2.Part]]:
    for i, message in enumerate(request.messages):
        for j, part in enumerate(message.parts):
            yield f"messages[{i}].parts[{j}]", part
