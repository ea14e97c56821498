"""Idempotency keys that all gateways of a deployment share, in the cache's Redis.

A value is one byte that tells its kind, then 32 that only the same body makes, then who runs it (``running``) or the
response, encrypted (``finished``): Redis holds answers for minutes, and who reads or writes it learns and forges
nothing. While Redis is away, or when it forgot a key to make room, this process's own memory is all there is: a request
that comes again to another gateway then runs again. Knows nothing of what a response means.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from redis.asyncio import Redis

from gateway.openai_http.idempotency import IdempotencyStore, Slot, Stored, in_progress, other_body
from trichord.errors import OverloadedError
from trichord.redis_link import RedisAwayError, RedisLink
from trichord.redis_script import Argument, RedisScript

log = structlog.get_logger(__name__)

MAX_RESPONSE_BYTES = 1024 * 1024
"""Larger responses are not kept: they would hold up the others' commands."""

_RUNNING, _FINISHED = b"r", b"f"
_BODY_BYTES, _NONCE_BYTES, _TOKEN_BYTES = 32, 12, 16

_CLAIM = RedisScript("""
local value = redis.call('GET', KEYS[1])
if value then return value end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
""")
_FINISH = RedisScript("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
_RELEASE = RedisScript("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


class SharedIdempotency:
    """See ``IdempotencyStore``. A gateway that dies leaves its claims for ``claim_s``, the longest that one may run."""

    def __init__(self, link: RedisLink, secret: bytes, own: IdempotencyStore, *, ttl_s: float, claim_s: float) -> None:
        """``own`` is this process's memory, for when Redis is away; ``secret`` is the same for all gateways."""
        self._link, self._own = link, own
        self._ttl_ms, self._claim_ms = round(ttl_s * 1e3), round(claim_s * 1e3)
        self._name_secret, self._body_secret, key = (
            hmac.digest(secret, f"idempotency {use}".encode(), "sha256") for use in ("name", "body", "response")
        )
        self._cipher = AESGCM(key)
        self._claims: dict[tuple[str, str], bytes] = {}
        """What Redis holds for the requests that run here."""

    async def claim(self, slot: Slot) -> Stored | None:
        """See ``IdempotencyStore``."""
        name, body = self._name(slot), hmac.digest(self._body_secret, slot.digest, "sha256")
        claim = _RUNNING + body + secrets.token_bytes(_TOKEN_BYTES)
        try:
            arguments: list[Argument] = [claim, self._claim_ms]
            value = await self._link.run(lambda redis: _CLAIM(redis, [name], arguments), "idempotency claim")
        except (RedisAwayError, OverloadedError):
            return await self._own.claim(slot)
        stored = None if value is None else self._read(name, body, value)
        if stored is None:
            self._claims[slot.tenant, slot.key] = claim
        return stored

    async def finish(self, slot: Slot, stored: Stored) -> None:
        """See ``IdempotencyStore``. A response too large to keep is not kept."""
        claim = self._claims.pop((slot.tenant, slot.key), None)
        if claim is None:
            await self._own.finish(slot, stored)
        elif len(stored.content) > MAX_RESPONSE_BYTES:
            await self._end(slot, claim)
        else:
            name = self._name(slot)
            value = self._seal(name, claim[1 : 1 + _BODY_BYTES], stored)
            await self._try(lambda redis: _FINISH(redis, [name], [claim, value, self._ttl_ms]))

    async def release(self, slot: Slot) -> None:
        """See ``IdempotencyStore``."""
        claim = self._claims.pop((slot.tenant, slot.key), None)
        await (self._own.release(slot) if claim is None else self._end(slot, claim))

    async def _end(self, slot: Slot, claim: bytes) -> None:
        await self._try(lambda redis: _RELEASE(redis, [self._name(slot)], [claim]))

    def _read(self, name: str, body: bytes, value: bytes) -> Stored:
        """The response that a value holds. Raises ConflictError as ``claim`` does, also for a value that is none."""
        if not hmac.compare_digest(value[1 : 1 + _BODY_BYTES], body):
            raise other_body()
        if value[:1] != _FINISHED:
            raise in_progress()
        sealed = value[1 + _BODY_BYTES :]
        try:
            opened = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(name, body))
        except (InvalidTag, ValueError) as error:
            log.warning("a kept response was forged or broken")
            raise in_progress() from error
        (num_chars,) = struct.unpack_from("<H", opened)
        return Stored(opened[2 : 2 + num_chars].decode(), opened[2 + num_chars :])

    def _seal(self, name: str, body: bytes, stored: Stored) -> bytes:
        kind, nonce = stored.content_type.encode(), secrets.token_bytes(_NONCE_BYTES)
        plain = struct.pack("<H", len(kind)) + kind + stored.content
        return _FINISHED + body + nonce + self._cipher.encrypt(nonce, plain, _bound(name, body))

    def _name(self, slot: Slot) -> str:
        tenant, key = slot.tenant.encode(), slot.key.encode()
        name = hmac.digest(self._name_secret, struct.pack("<I", len(tenant)) + tenant + key, "sha256")
        return f"trichord:idempotent:{{{name.hex()}}}"

    async def _try(self, command: Callable[[Redis], Awaitable[Any]]) -> None:
        """What fails is not kept: the claim runs out, and the request may be sent again."""
        try:
            await self._link.run(command, "idempotency settle")
        except (RedisAwayError, OverloadedError):
            log.warning("an idempotency key could not be settled")


def _bound(name: str, body: bytes) -> bytes:
    """What a sealed response is bound to: moved to another key or body it does not open."""
    return name.encode() + body
