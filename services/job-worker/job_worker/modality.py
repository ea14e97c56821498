"""Which encoders an item may need. Pure."""

from __future__ import annotations

from typing import Final, Literal

from trichord.v1 import jobs_pb2

Medium = Literal["image", "audio"]
Media = frozenset[Medium]

UNKNOWN: Final[Media] = frozenset({"image", "audio"})
"""Of an item that has not been read: it is large, and only media are."""

_MEDIUM: dict[str | None, Medium] = {"image_bytes": "image", "image_url": "image", "audio_bytes": "audio"}
"""By kind of part; an embedding needs no encoder any more."""


def media(queued: jobs_pb2.QueuedItem) -> Media:
    """The media of an item, as far as the queue tells."""
    if not queued.HasField("item"):
        return UNKNOWN
    parts = (part for message in queued.item.request.messages for part in message.parts)
    return frozenset(_MEDIUM[kind] for part in parts if (kind := part.WhichOneof("part")) in _MEDIUM)
