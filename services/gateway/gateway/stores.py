"""The gateway's two Redis servers, and what it keeps in each.

The cache may forget anything at any time (embeddings); the state must not (media handles, budgets). They are never one
server: what evicts the one would evict the other.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Self

from gateway.embeddings.store import EmbeddingStore, StoreLimits
from gateway.handles.store import HandleStore
from gateway.settings import GatewaySettings
from trichord.redis_link import RedisLink

_MEDIA_TIMEOUT_S = 2.0
"""A file of 64 MiB takes some of it on a slow network."""


@dataclass(frozen=True)
class Stores:
    """See the module."""

    cache: RedisLink
    state: RedisLink
    media: RedisLink
    embeddings: EmbeddingStore
    handles: HandleStore
    secret: bytes = field(repr=False)
    """What all gateways of a deployment seal with, each use with a key of its own."""

    @classmethod
    def open(cls, settings: GatewaySettings) -> Self:
        """Connects to nothing yet. Raises SettingsError if a URL is none."""
        cache_url, state_url = settings.cache_url.get_secret_value(), settings.state_url.get_secret_value()
        cache, state = RedisLink(cache_url, store="cache"), RedisLink(state_url, store="state")
        media = RedisLink(state_url, store="media", timeout_s=_MEDIA_TIMEOUT_S)
        told = settings.store_secret
        secret = told.get_secret_value().encode() if told else secrets.token_bytes(32)
        limits = StoreLimits(max_record_bytes=settings.max_embedding_bytes, ttl_s=settings.embedding_ttl_s)
        handles = HandleStore(
            media, secret, max_bytes=settings.media_store_bytes, max_tenant_bytes=settings.media_tenant_bytes
        )
        return cls(cache, state, media, EmbeddingStore(cache, secret, limits), handles, secret)

    async def close(self) -> None:
        """Lets what is being kept be kept, and closes all connections."""
        await self.embeddings.close()
        await asyncio.gather(self.cache.close(), self.state.close(), self.media.close())
