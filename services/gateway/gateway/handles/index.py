"""Which handles there are: the bookkeeping beside the media, kept by Lua scripts that each are one step.

All in one hash slot, under ``trichord:{media}:``; tenants are named by digest::

    expiries       zset  tenant + handle, by the time of expiry in ms
    bytes          hash  "total" and each tenant: bytes of the media alive
    of:<tenant>    zset  handles, by their serial number (time of arrival in µs)
    about:<tenant> hash  handle: "expire_ms num_bytes modality sha256"
    <content key>  string  the media, written and read by the store

Times are Redis's own, so that gateways need not agree on one. Knows nothing of the media's bytes.
"""

from __future__ import annotations

from typing import NamedTuple

from trichord.errors import NotFoundError, OverloadedError
from trichord.redis_link import RedisLink
from trichord.redis_script import RedisScript
from trichord.v1 import gateway_pb2

PREFIX = "trichord:{media}:"
ENTRY_BYTES = 1024
"""What a handle costs beside its media: without it, the smallest media would be stored without bound."""

# Drops what expired (a thousand at most, so that no call blocks Redis for long) before anything is counted.
_PRELUDE = f"""
local prefix, entry_bytes, tenant_chars = '{PREFIX}', {ENTRY_BYTES}, 32
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local function text(number) return string.format('%.0f', number) end
local function add_bytes(field, number)
  if redis.call('HINCRBY', prefix .. 'bytes', field, text(number)) <= 0 then
    redis.call('HDEL', prefix .. 'bytes', field)
  end
end
local function forget(tenant, handle)
  local about = redis.call('HGET', prefix .. 'about:' .. tenant, handle)
  if not about then return false end
  local cost = string.match(about, '^%d+ (%d+)') + entry_bytes
  add_bytes('total', -cost)
  add_bytes(tenant, -cost)
  redis.call('HDEL', prefix .. 'about:' .. tenant, handle)
  redis.call('ZREM', prefix .. 'of:' .. tenant, handle)
  redis.call('ZREM', prefix .. 'expiries', tenant .. handle)
  return true
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'expiries', '-inf', now_ms, 'LIMIT', 0, 1000)) do
  forget(string.sub(member, 1, tenant_chars), string.sub(member, tenant_chars + 1))
end
"""
# ARGV: tenant, handle, num_bytes, modality, sha256, ttl_ms, max_bytes, max_tenant_bytes
_ADD = RedisScript(
    _PRELUDE
    + """
local tenant, handle, cost = ARGV[1], ARGV[2], ARGV[3] + entry_bytes
local function bytes_with(field) return (redis.call('HGET', prefix .. 'bytes', field) or 0) + cost end
if bytes_with(tenant) > tonumber(ARGV[8]) then return 'tenant' end
if bytes_with('total') > tonumber(ARGV[7]) then return 'all' end
local last = redis.call('ZREVRANGE', prefix .. 'of:' .. tenant, 0, 0, 'WITHSCORES')
local serial = math.max(now_us, (last[2] or 0) + 1)
local expire_ms = now_ms + ARGV[6]
local about = table.concat({text(expire_ms), ARGV[3], ARGV[4], ARGV[5]}, ' ')
redis.call('ZADD', prefix .. 'of:' .. tenant, text(serial), handle)
redis.call('HSET', prefix .. 'about:' .. tenant, handle, about)
redis.call('ZADD', prefix .. 'expiries', text(expire_ms), tenant .. handle)
add_bytes('total', cost)
add_bytes(tenant, cost)
return expire_ms
"""
)
# KEYS: the content. ARGV: tenant, handle
_REMOVE = RedisScript(
    _PRELUDE
    + """
redis.call('DEL', KEYS[1])
return forget(ARGV[1], ARGV[2]) and 1 or 0
"""
)
# ARGV: tenant, serial below which to begin, how many
_LIST = RedisScript(
    _PRELUDE
    + """
local handles = prefix .. 'of:' .. ARGV[1]
local page = redis.call('ZREVRANGEBYSCORE', handles, ARGV[2], '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local rows = {}
for i = 1, #page, 2 do
  rows[#rows + 1] = {page[i], page[i + 1], redis.call('HGET', prefix .. 'about:' .. ARGV[1], page[i])}
end
return rows
"""
)


class Listed(NamedTuple):
    """One handle of a list."""

    serial: int
    """Greater than that of every older handle of the tenant."""
    media: gateway_pb2.StoredMedia


class HandleIndex:
    """At most ``max_bytes`` of media, and ``max_tenant_bytes`` of one tenant, each counted with ``ENTRY_BYTES`` more.

    Every method raises RedisAwayError when Redis cannot serve. ``tenant`` is 32 hex digits.
    """

    def __init__(self, link: RedisLink, max_bytes: int, max_tenant_bytes: int) -> None:
        self._link, self._max_bytes, self._max_tenant_bytes = link, max_bytes, max_tenant_bytes

    async def add(self, tenant: str, media: gateway_pb2.StoredMedia, ttl_s: float) -> None:
        """Counts media in and sets their time of expiry. Raises OverloadedError when there is no room for them."""
        about = (media.num_bytes, media.modality, media.content_sha256, round(ttl_s * 1e3))
        arguments = (tenant, media.media_handle, *about, self._max_bytes, self._max_tenant_bytes)
        answer = await self._link.run(lambda redis: _ADD(redis, [f"{PREFIX}expiries"], arguments), "media count in")
        if answer == b"tenant":
            raise OverloadedError("Your media fill their part of the store. Delete some or let them expire.")
        if answer == b"all":
            raise OverloadedError(
                "The media store is full. Try again later or send the bytes inline.", retry_after_s=5.0
            )
        media.expire_time.FromMilliseconds(int(answer))

    async def remove(self, tenant: str, handle: str, content_key: str) -> None:
        """Forgets a handle and its content. Raises NotFoundError if it is not the tenant's."""
        if not await self._link.run(lambda redis: _REMOVE(redis, [content_key], [tenant, handle]), "media remove"):
            raise not_found()

    async def list(self, tenant: str, below: int | None, max_handles: int) -> list[Listed]:
        """The tenant's handles, newest first, from the one before serial ``below`` on."""
        start = "+inf" if below is None else f"({below}"
        arguments = (tenant, start, max_handles)
        rows = await self._link.run(lambda redis: _LIST(redis, [f"{PREFIX}expiries"], arguments), "media list")
        return [_listed(*row) for row in rows]


def not_found() -> NotFoundError:
    """What everybody is told of a handle that never was, has expired, or is another tenant's."""
    return NotFoundError("There is no such media handle, or it has expired. Put the media again.")


def _listed(handle: bytes, serial: bytes, about: bytes) -> Listed:
    expire_ms, num_bytes, modality, content_sha256 = about.decode().split(" ")
    media = gateway_pb2.StoredMedia(
        media_handle=handle.decode(),
        modality=int(modality),  # type: ignore[arg-type]
        num_bytes=int(num_bytes),
        content_sha256=content_sha256,
    )
    media.expire_time.FromMilliseconds(int(expire_ms))
    return Listed(int(serial), media)
