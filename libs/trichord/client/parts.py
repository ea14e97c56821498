"""What a conversation is made of: messages, and their parts in the order in which the model reads them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

Part = gateway_pb2.Part
Message = gateway_pb2.Message


def image(data: bytes | Path) -> Part:
    """An image file: PNG, JPEG or WebP. Raises OSError if a path cannot be read."""
    return Part(image_bytes=_bytes(data))


def image_url(url: str) -> Part:
    """An address that the gateway fetches an image from, if its operator allows the host."""
    return Part(image_url=url)


def audio(data: bytes | Path) -> Part:
    """A sound file: WAV, FLAC, MP3, Ogg, MP4/M4A or WebM. Raises OSError if a path cannot be read."""
    return Part(audio_bytes=_bytes(data))


def handle(media_handle: str) -> Part:
    """A medium that ``put_media`` keeps."""
    return Part(media_handle=media_handle)


def embedding(encoded: tensor_pb2.Embedding) -> Part:
    """A medium that ``encode``, or an encoder's own service, has encoded."""
    return Part(embedding=encoded)


def system(text: str) -> Message:
    """Instructions; only as the first message."""
    return _message(decoder_pb2.ROLE_SYSTEM, [text])


def user(*parts: Part | str) -> Message:
    """What the person says, in the order in which the model reads it."""
    return _message(decoder_pb2.ROLE_USER, parts)


def assistant(text: str) -> Message:
    """An earlier answer of the model."""
    return _message(decoder_pb2.ROLE_ASSISTANT, [text])


def _bytes(data: bytes | Path) -> bytes:
    return data.read_bytes() if isinstance(data, Path) else data


def _message(role: decoder_pb2.Role, parts: Iterable[Part | str]) -> Message:
    return Message(role=role, parts=(Part(text=part) if isinstance(part, str) else part for part in parts))
