"""Media in Redis, each for a while, under a handle that is good in one tenant: whichever gateway it was put through.

Knows nothing of what the bytes are, and nothing of who may call it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from typing import NamedTuple

from gateway.handles.index import PREFIX, HandleIndex, Listed, not_found
from trichord.errors import TrichordError
from trichord.redis_link import RedisLink
from trichord.v1 import gateway_pb2, tensor_pb2

_MAC_BYTES = hashlib.sha256().digest_size
_TENANT_CHARS = 32


class Media(NamedTuple):
    """What a handle stands for."""

    modality: tensor_pb2.Modality
    content: bytes


class HandleStore:
    """The media of all tenants.

    ``secret`` is shared by all gateways of a deployment; names in Redis tell nothing of tenants without it, and what
    was not put there by a gateway is not given out. ``link`` needs a timeout that the largest media fit in.
    Every method raises RedisAwayError when Redis cannot serve.
    """

    def __init__(self, link: RedisLink, secret: bytes, *, max_bytes: int, max_tenant_bytes: int) -> None:
        self._link = link
        self._secret = hmac.digest(secret, b"media", "sha256")
        self._index = HandleIndex(link, max_bytes, max_tenant_bytes)

    async def put(
        self, tenant: str, modality: tensor_pb2.Modality, content: bytes, ttl_s: float
    ) -> gateway_pb2.StoredMedia:
        """Keeps media. Raises OverloadedError when they do not fit."""
        # In threads: hashing 64 MiB is long enough to hold up every stream.
        content_sha256 = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()
        media = gateway_pb2.StoredMedia(
            media_handle=f"media-{secrets.token_urlsafe(24)}",
            modality=modality,
            num_bytes=len(content),
            content_sha256=content_sha256,
        )
        key = self._content_key(tenant, media.media_handle)
        sealed = await asyncio.to_thread(self._sealed, key, modality, content)
        # Counted first: a gateway that dies in between leaves too much counted until the expiry, never too little.
        await self._index.add(self._digest(tenant), media, ttl_s)
        try:
            expire_ms = media.expire_time.ToMilliseconds()
            await self._link.run(lambda redis: redis.set(key, sealed, pxat=expire_ms), "media put")
        except TrichordError:
            with contextlib.suppress(TrichordError):
                await self.delete(tenant, media.media_handle)
            raise
        return media

    async def get(self, tenant: str, handle: str) -> Media:
        """The media of a handle. Raises NotFoundError alike if it never was, has expired, or is another tenant's."""
        key = self._content_key(tenant, handle)
        sealed: object = await self._link.run(lambda redis: redis.get(key), "media get")
        if not isinstance(sealed, bytes) or len(sealed) <= _MAC_BYTES:
            raise not_found()
        return await asyncio.to_thread(self._opened, key, sealed)

    async def list(self, tenant: str, below: int | None, max_handles: int) -> list[Listed]:
        """The tenant's handles alive, newest first, from the one before serial ``below`` on."""
        return await self._index.list(self._digest(tenant), below, max_handles)

    async def delete(self, tenant: str, handle: str) -> None:
        """Forgets a handle at once. Raises NotFoundError as ``get`` does."""
        await self._index.remove(self._digest(tenant), handle, self._content_key(tenant, handle))

    def _digest(self, *parts: str) -> str:
        message = b"".join(len(part).to_bytes(4, "little") + part for part in (text.encode() for text in parts))
        return hmac.digest(self._secret, message, "sha256").hex()[:_TENANT_CHARS]

    def _content_key(self, tenant: str, handle: str) -> str:
        return f"{PREFIX}content:{self._digest(tenant, handle)}"

    def _sealed(self, key: str, modality: tensor_pb2.Modality, content: bytes) -> bytes:
        kind = bytes([modality])
        return b"".join((self._mac(key, kind, content), kind, content))

    def _opened(self, key: str, sealed: bytes) -> Media:
        kind, content = sealed[_MAC_BYTES : _MAC_BYTES + 1], sealed[_MAC_BYTES + 1 :]
        if not hmac.compare_digest(self._mac(key, kind, content), sealed[:_MAC_BYTES]):
            raise not_found()
        return Media(kind[0], content)  # type: ignore[arg-type]

    def _mac(self, key: str, kind: bytes, content: bytes) -> bytes:
        mac = hmac.new(self._secret, key.encode() + kind, "sha256")
        mac.update(content)
        return mac.digest()
