"""Media that clients put once and name by handle: bounded, short-lived, bound to a tenant.

Lives in this process only. Knows nothing of what the bytes are.
"""

from __future__ import annotations

import heapq
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from trichord.errors import NotFoundError, OverloadedError
from trichord.v1 import tensor_pb2

ENTRY_BYTES = 1024
"""What a handle costs beside its media: without it, the smallest media would be stored without bound."""

SOLE_TENANT = ""
"""There is one tenant until callers are known by key."""


class StoredMedia(NamedTuple):
    """Bytes kept for a tenant until ``expires_s`` on the store's clock."""

    tenant: str
    modality: tensor_pb2.Modality
    content: bytes
    expires_s: float


class MediaStore:
    """At most ``max_bytes`` of media, all tenants together, each counted with ``ENTRY_BYTES`` more."""

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._media: dict[str, StoredMedia] = {}
        self._expiries: list[tuple[float, str]] = []
        self._num_bytes = 0

    def put(self, tenant: str, modality: tensor_pb2.Modality, content: bytes, ttl_s: float) -> tuple[str, StoredMedia]:
        """Keeps media; returns its handle. Raises OverloadedError when the store is full of media still alive."""
        self._forget_expired()
        if self._num_bytes + _cost(content) > self._max_bytes:
            raise OverloadedError("The media store is full. Try again later or send the bytes inline.", retry_after_s=5)
        media = StoredMedia(tenant, modality, content, self._clock() + ttl_s)
        handle = f"media-{secrets.token_urlsafe(24)}"
        self._media[handle] = media
        heapq.heappush(self._expiries, (media.expires_s, handle))
        self._num_bytes += _cost(content)
        return handle, media

    def get(self, tenant: str, handle: str) -> StoredMedia:
        """The media of a handle. Raises NotFoundError alike if it never was, has expired, or is another tenant's."""
        self._forget_expired()
        media = self._media.get(handle)
        if media is None or media.tenant != tenant:
            raise NotFoundError("There is no such media handle, or it has expired. Put the media again.")
        return media

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            _, handle = heapq.heappop(self._expiries)
            self._num_bytes -= _cost(self._media.pop(handle).content)


def _cost(content: bytes) -> int:
    return len(content) + ENTRY_BYTES
