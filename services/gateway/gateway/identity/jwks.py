"""The public keys of an identity provider (RFC 7517), fetched within bounds, kept, and fetched again as they rotate.

Knows nothing of tokens.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import jwt
import structlog

from trichord.errors import UnavailableError

log = structlog.get_logger(__name__)

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""What a key may sign with: none of them is symmetric, so that a public key is never taken for a secret."""

MAX_BYTES = 64 * 1024
MAX_KEYS = 64
TIMEOUT_S = 3.0
FRESH_S = 600.0
"""How long fetched keys are taken for the provider's: what a withdrawn key may live on."""
STALE_S = 3600.0
"""How long they are while the provider cannot be reached."""
RETRY_S = 10.0
"""Between two fetches: tokens with made-up key ids must not become a flood of them."""


class Jwks:
    """The keys at ``url``. Nothing is fetched until one is asked for."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._lock = asyncio.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_s = self._tried_s = float("-inf")

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id, None if there is none. Raises UnavailableError if there are no keys to look among."""
        is_being_fetched_for_others = key_id in self._keys and self._lock.locked()
        if self._wants(key_id) and not is_being_fetched_for_others:
            async with self._lock:  # one fetch for all who wait
                if self._wants(key_id):
                    await self._refresh()
        if self._clock() - self._fetched_s > STALE_S:
            raise UnavailableError("The identity provider cannot be reached. Try again shortly.", retry_after_s=RETRY_S)
        return self._keys.get(key_id)

    def _wants(self, key_id: str) -> bool:
        now = self._clock()
        is_old = now - self._fetched_s > FRESH_S
        return (is_old or key_id not in self._keys) and now - self._tried_s > RETRY_S

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._keys = parse(await _fetch(self._url))
            self._fetched_s = self._clock()
        except (httpx2.HTTPError, TimeoutError, ValueError) as error:
            log.warning("identity provider's keys", error=repr(error))
        finally:
            self._tried_s = self._clock()


async def _fetch(url: str) -> bytes:
    """The body, at most MAX_BYTES of it; follows no redirect, asks no proxy. Raises httpx2.HTTPError or ValueError."""
    content = b""
    # Identity: a compressed body could be larger than it is.
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_S, headers={"accept-encoding": "identity"}) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != httpx2.codes.OK:
            raise ValueError(f"status {response.status_code}")
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES} bytes")
    return content


def parse(content: bytes) -> dict[str, jwt.PyJWK]:
    """The keys of a set that can verify here, by id; others are skipped (RFC 7517 section 5).

    Raises ValueError for what is no key set.
    """
    try:
        document = json.loads(content)
    except RecursionError as error:
        raise ValueError("too deep") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("not a set of keys")
    return dict(_usable(entries))


def _usable(entries: list[Any]) -> Iterator[tuple[str, jwt.PyJWK]]:
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
            continue
        if key.algorithm_name in ALGORITHMS and _is_public(entry):
            yield entry["kid"], key


def _is_public(entry: dict[str, Any]) -> bool:
    return "d" not in entry and "k" not in entry
