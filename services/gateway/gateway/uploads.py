"""PutMedia: media checked for what can be told without looking inside, and kept."""

from __future__ import annotations

import asyncio
import hashlib

from gateway.media_store import SOLE_TENANT, MediaStore
from trichord.errors import RequestError
from trichord.v1 import gateway_pb2, tensor_pb2

DEFAULT_TTL_S = 600.0
MAX_TTL_S = 3600.0


async def put_media(request: gateway_pb2.PutMediaRequest, store: MediaStore) -> gateway_pb2.PutMediaResponse:
    """Keeps the request's media. Raises RequestError for empty media or a ttl out of range, OverloadedError if full."""
    kind = request.WhichOneof("media")
    content: bytes = getattr(request, kind) if kind else b""
    if not content:
        raise RequestError("There is no media to keep.", field=kind or "media")
    ttl_s = _ttl_s(request)
    # In a thread: hashing 64 MiB is long enough to hold up every stream.
    sha256 = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()
    modality = tensor_pb2.MODALITY_IMAGE if kind == "image_bytes" else tensor_pb2.MODALITY_AUDIO
    handle, media = store.put(SOLE_TENANT, modality, content, ttl_s)
    response = gateway_pb2.PutMediaResponse(media_handle=handle, content_sha256=sha256)
    response.expire_time.FromMilliseconds(int(media.expires_s * 1000))
    return response


def _ttl_s(request: gateway_pb2.PutMediaRequest) -> float:
    ttl_s = request.ttl.seconds + request.ttl.nanos / 1e9 if request.HasField("ttl") else DEFAULT_TTL_S
    if not 1 <= ttl_s <= MAX_TTL_S:
        raise RequestError("A ttl is 1 second to 1 hour.", field="ttl")
    return ttl_s
