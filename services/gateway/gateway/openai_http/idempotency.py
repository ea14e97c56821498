"""Repeated requests under one Idempotency-Key: the first runs, later ones get its response.

Follows draft-ietf-httpapi-idempotency-key-header. Only successes are kept, so a failed request may be sent again. Knows
nothing of what a response means.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from starlette.datastructures import Headers

from gateway.openai_http.refusals import HttpError
from trichord.errors import ConflictError

MAX_KEY_CHARS = 255

ENTRY_BYTES = 512
"""What a key costs beside its response."""


class Slot(NamedTuple):
    """One key of one tenant, and what was sent under it."""

    tenant: str
    key: str
    digest: bytes
    """sha256 of the body."""


class Stored(NamedTuple):
    """A finished response."""

    content_type: str
    content: bytes


class IdempotencyStore(Protocol):
    """Where keys and responses are kept."""

    async def claim(self, slot: Slot) -> Stored | None:
        """The response kept for a slot, or None: then the caller runs, and finishes or releases the slot.

        Raises ConflictError while another runs, or if the key came with another body.
        """

    async def finish(self, slot: Slot, stored: Stored) -> None:
        """Keeps the response of a claimed slot."""

    async def release(self, slot: Slot) -> None:
        """Gives a claimed slot up: it failed."""


def key_of(headers: Headers) -> str | None:
    """The key that a request came with, if it has one. Raises HttpError."""
    key = headers.get("idempotency-key")
    if key is not None and (not 1 <= len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable())):
        message = f"An idempotency key has 1 to {MAX_KEY_CHARS} printable ASCII characters."
        raise HttpError(message, code="invalid_idempotency_key")
    return key


def other_body() -> ConflictError:
    """The key is another request's."""
    return ConflictError("This idempotency key was used with another body. Choose a new key.")


def in_progress() -> ConflictError:
    """The request runs."""
    return ConflictError("The same request is still in progress. Ask again for its response.", retry_after_s=1.0)


@dataclass
class _Entry:
    digest: bytes
    expires_s: float = float("inf")
    stored: Stored | None = None

    @property
    def num_bytes(self) -> int:
        return ENTRY_BYTES + (len(self.stored.content) if self.stored else 0)


class MemoryIdempotency:
    """Keeps responses in this process: at most ``max_bytes``, each for ``ttl_s``; the oldest give way first."""

    def __init__(self, max_bytes: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._ttl_s, self._clock = max_bytes, ttl_s, clock
        self._running: dict[tuple[str, str], _Entry] = {}
        self._finished: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._num_bytes = 0

    async def claim(self, slot: Slot) -> Stored | None:
        """See ``IdempotencyStore``."""
        self._forget(lambda entry: entry.expires_s <= self._clock())
        name = (slot.tenant, slot.key)
        entry = self._running.get(name) or self._finished.get(name)
        if entry is None:
            self._running[name] = _Entry(slot.digest)
            return None
        if entry.digest != slot.digest:
            raise other_body()
        if entry.stored is None:
            raise in_progress()
        return entry.stored

    async def finish(self, slot: Slot, stored: Stored) -> None:
        """See ``IdempotencyStore``. A response too large to keep is not kept."""
        entry = self._running.pop((slot.tenant, slot.key))
        entry.stored, entry.expires_s = stored, self._clock() + self._ttl_s
        if entry.num_bytes > self._max_bytes:
            return
        self._finished[slot.tenant, slot.key] = entry
        self._num_bytes += entry.num_bytes
        self._forget(lambda _: self._num_bytes > self._max_bytes)

    async def release(self, slot: Slot) -> None:
        """See ``IdempotencyStore``."""
        del self._running[slot.tenant, slot.key]

    def _forget(self, gives_way: Callable[[_Entry], bool]) -> None:
        while self._finished and gives_way(next(iter(self._finished.values()))):
            _, entry = self._finished.popitem(last=False)
            self._num_bytes -= entry.num_bytes
