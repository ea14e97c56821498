"""Records in Redis, and the lease on making one: a short-lived key that names who is at it.

The lease's token is its fence: who has lost the lease to another can neither keep a record nor end the other's lease.
Knows nothing of what is in a record. Every method raises RedisAwayError or OverloadedError when Redis cannot serve.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Literal

from redis.asyncio import Redis

from trichord.errors import OverloadedError
from trichord.redis_link import RedisAwayError, RedisLink
from trichord.redis_script import Argument, RedisScript

LEASE_S = 3.0
"""How long a dead leader holds the others up; a live one renews its lease thrice as often."""

Claim = Literal["ours", "theirs"]
"""Who makes a record that is not there."""

_FIND = RedisScript("""
local record = redis.call('GET', KEYS[1])
if record then return record end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
""")
_KEEP = RedisScript("""
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if holder then redis.call('DEL', KEYS[2]) end
return 1
""")
_RENEW = RedisScript("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
""")
_RELEASE = RedisScript("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2])
""")


class SharedRecords:
    """The records that all gateways share."""

    def __init__(self, link: RedisLink, lease_s: float = LEASE_S) -> None:
        self._link, self._lease_s = link, lease_s
        self._lease_ms = max(1, round(lease_s * 1e3))

    async def find(self, digest: bytes, token: bytes) -> bytes | Claim:
        """The record of a key; or whose it is to make: ours from now on for the length of a lease, or another's."""
        keys = _keys(digest)

        async def command(redis: Redis) -> Any:
            # A large record comes out of a plain GET in two thirds of the time that it takes through Lua.
            record = await redis.get(keys[0])
            return await _FIND(redis, keys, [token, self._lease_ms]) if record is None else record

        answer = await self._link.run(command, "embedding find")
        if answer == 1:
            return "ours"
        return "theirs" if answer == 0 else answer

    async def peek(self, digest: bytes) -> bytes:
        """The record of a key; empty if there is none, and nobody is to make it."""

        async def command(redis: Redis) -> Any:
            return await redis.get(_keys(digest)[0])

        record: bytes | None = await self._link.run(command, "embedding get")
        return record or b""

    async def keep(self, digest: bytes, token: bytes, record: bytes, ttl_s: float) -> bool:
        """Keeps a record about so long and ends our lease; tells whether, for not while another holds the lease."""
        # Spread, so that what was kept together is not forgotten together.
        ttl_ms = round(ttl_s * 1e3 * random.uniform(0.9, 1.0))  # noqa: S311
        arguments: list[Argument] = [token, record, ttl_ms]
        return bool(await self._link.run(lambda redis: _KEEP(redis, _keys(digest), arguments), "embedding keep"))

    async def release(self, digest: bytes, token: bytes) -> None:
        """Ends our lease, if we hold it: another may go at once."""
        await self._link.run(lambda redis: _RELEASE(redis, _keys(digest), [token]), "lease release")

    async def discard(self, digest: bytes) -> None:
        """Forgets a record."""
        await self._link.run(lambda redis: redis.delete(_keys(digest)[0]), "embedding discard")

    async def hold(self, digest: bytes, token: bytes) -> None:
        """Renews our lease until cancelled, or until it is lost. Raises nothing."""
        arguments: list[Argument] = [token, self._lease_ms]
        held = True
        while held:
            await asyncio.sleep(self._lease_s / 3)
            try:
                held = bool(await self._link.run(lambda redis: _RENEW(redis, _keys(digest), arguments), "lease renew"))
            except (RedisAwayError, OverloadedError):
                continue


def _keys(digest: bytes) -> list[str]:
    """Of a record and of its lease: in one slot of a Redis Cluster, by their hash tag."""
    return [f"trichord:embedding:{{{digest.hex()}}}", f"trichord:embedding:{{{digest.hex()}}}:lease"]
