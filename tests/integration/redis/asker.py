"""A gateway's store in a process of its own: ``asker.py URL NAME CALLERS ENCODE_S`` asks once ``go:NAME`` is there.

Counts its encodes in ``encodes:NAME``; prints the sources of what its callers got.
"""

from __future__ import annotations

import asyncio
import sys

from gateway.embeddings.store import EmbeddingStore
from tests.integration.redis.lab import IMAGE, embedding_of
from trichord.redis_link import RedisLink
from trichord.v1 import tensor_pb2


async def main(url: str, name: str, callers: int, encode_s: float) -> None:
    link = RedisLink(url, timeout_s=30)
    store = EmbeddingStore(link, name.encode())

    async def encode() -> tensor_pb2.Embedding:
        await link.run(lambda redis: redis.incr(f"encodes:{name}"))
        await asyncio.sleep(encode_s)
        return embedding_of(b"pixels")

    await link.run(lambda redis: redis.incr(f"ready:{name}"))
    while not await link.run(lambda redis: redis.exists(f"go:{name}")):  # noqa: ASYNC110 - set by another process
        await asyncio.sleep(0.01)
    asked = (store.embedding("a", IMAGE, b"pixels", "vision", encode, timeout_s=60) for _ in range(callers))
    print(*[stored.source for stored in await asyncio.gather(*asked)])
    await store.close()
    await link.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
