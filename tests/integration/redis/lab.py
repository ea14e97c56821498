"""Stores on one server, as gateways of one deployment have them, and an encoder that counts."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from gateway.embeddings.store import EmbeddingStore, Stored, StoreLimits
from trichord.redis_link import RedisLink
from trichord.tensors import to_proto
from trichord.v1 import tensor_pb2

IMAGE = tensor_pb2.MODALITY_IMAGE
CONTENT = b"pixels"


def embedding_of(content: bytes) -> tensor_pb2.Embedding:
    """What the encoder makes of an image."""
    grid = tensor_pb2.ImageGrid(tokens_per_tile=2, width=8, height=9)
    values = to_proto(np.full((2, 4), content[0], np.float32))
    return tensor_pb2.Embedding(values=values, fingerprint="vision", modality=IMAGE, grid=grid)


class Encoder:
    """Answers at once, or when ``end`` is set."""

    def __init__(self, held: bool = False, error: Exception | None = None) -> None:
        self.calls, self.cancelled, self.error = 0, 0, error
        self.end, self.entered = asyncio.Event(), asyncio.Event()
        if not held:
            self.end.set()

    async def __call__(self) -> tensor_pb2.Embedding:
        self.calls += 1
        self.entered.set()
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return embedding_of(CONTENT)


class Deployment:
    """Stores that share a server and a secret."""

    def __init__(self, url: str, limits: StoreLimits | None, **link: Any) -> None:
        self.url, self.limits, self.link = url, limits, {"timeout_s": 30.0, **link}
        self.secret = uuid.uuid4().bytes
        self.links: list[RedisLink] = []
        self.stores: list[EmbeddingStore] = []

    def store(self) -> EmbeddingStore:
        """One gateway's."""
        self.links.append(RedisLink(self.url, **self.link))
        self.stores.append(EmbeddingStore(self.links[-1], self.secret, self.limits))
        return self.stores[-1]


@asynccontextmanager
async def deployed(url: str, limits: StoreLimits | None = None, **link: Any) -> AsyncIterator[Deployment]:
    deployment = Deployment(url, limits, **link)
    try:
        yield deployment
    finally:
        for store in deployment.stores:
            await store.close()
        for one in deployment.links:
            await one.close()


async def ask(
    store: EmbeddingStore, encoder: Encoder, tenant: str = "a", content: bytes = CONTENT, timeout_s: float = 60
) -> Stored:
    """What one caller gets."""
    return await store.embedding(tenant, IMAGE, content, "vision", encoder, timeout_s=timeout_s)
