"""One answer for all requests under one key, whichever gateway they come to; on real servers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from gateway.openai_http.idempotency import MemoryIdempotency, Slot, Stored
from gateway.openai_http.shared_idempotency import MAX_RESPONSE_BYTES, SharedIdempotency
from tests.redis_lab import RedisServer
from trichord.errors import ConflictError
from trichord.redis_link import RedisLink

ANSWER = Stored("application/json", b'{"said": "xyzzy"}')
Open = Callable[..., SharedIdempotency]


def slot(key: str = "k", tenant: str = "acme", digest: bytes = b"1") -> Slot:
    return Slot(tenant, key, digest)


@pytest.fixture
async def links() -> AsyncIterator[Callable[[RedisServer], RedisLink]]:
    async with AsyncExitStack() as stack:

        def link(server: RedisServer) -> RedisLink:
            made = RedisLink(server.url, timeout_s=5.0)
            stack.push_async_callback(made.close)
            return made

        yield link


@pytest.fixture
def gateway(server: RedisServer, links: Callable[[RedisServer], RedisLink]) -> Open:
    """Opens the store of one more gateway of the same deployment."""
    secret = secrets.token_bytes(32)

    def opened(ttl_s: float = 60, claim_s: float = 60, server: RedisServer = server) -> SharedIdempotency:
        return SharedIdempotency(links(server), secret, MemoryIdempotency(1 << 20, 60), ttl_s=ttl_s, claim_s=claim_s)

    return opened


async def test_running_then_finished_whichever_gateway_is_asked(gateway: Open) -> None:
    one, other = gateway(), gateway()
    assert await one.claim(slot()) is None
    for asked in (one, other):
        with pytest.raises(ConflictError) as running:
            await asked.claim(slot())
        assert running.value.retry_after_s == 1
    await one.finish(slot(), ANSWER)
    assert await one.claim(slot()) == await other.claim(slot()) == ANSWER


async def test_of_many_at_once_one_runs(gateway: Open) -> None:
    gateways = [gateway() for _ in range(4)]
    outcomes = await asyncio.gather(*(g.claim(slot()) for g in gateways for _ in range(8)), return_exceptions=True)
    assert (outcomes.count(None), sum(isinstance(o, ConflictError) for o in outcomes)) == (1, 31)


async def test_another_body_is_refused_while_the_key_lives(gateway: Open) -> None:
    one, other = gateway(), gateway()
    await one.claim(slot())
    for _ in range(2):
        with pytest.raises(ConflictError) as refused:
            await other.claim(slot(digest=b"2"))
        assert refused.value.retry_after_s is None
        await one.finish(slot(), ANSWER) if not _ else None


async def test_tenants_do_not_share_keys(gateway: Open) -> None:
    one, other = gateway(), gateway()
    await one.claim(slot())
    await one.finish(slot(), ANSWER)
    assert await other.claim(slot(tenant="other")) is None
    assert await other.claim(slot(tenant="acm", key="ek")) is None, "where one ends and the other begins counts"


async def test_what_failed_or_is_too_large_may_be_sent_again(gateway: Open) -> None:
    one, other = gateway(), gateway()
    await one.claim(slot())
    await one.release(slot())
    assert await other.claim(slot(digest=b"2")) is None
    await other.finish(slot(digest=b"2"), Stored("text/plain", bytes(MAX_RESPONSE_BYTES + 1)))
    assert await one.claim(slot(digest=b"3")) is None


async def test_a_dead_gateways_claim_and_an_old_answer_run_out(gateway: Open) -> None:
    dead, other = gateway(claim_s=0.05), gateway(ttl_s=0.05)
    await dead.claim(slot())
    await asyncio.sleep(0.1)
    assert await other.claim(slot()) is None
    await dead.finish(slot(), ANSWER)  # it was not dead: but the claim is another's now
    with pytest.raises(ConflictError):
        await gateway().claim(slot())
    await other.finish(slot(), ANSWER)
    await asyncio.sleep(0.1)
    assert await gateway().claim(slot()) is None


async def test_who_reads_or_writes_redis_learns_and_forges_nothing(
    gateway: Open, server: RedisServer, links: Callable[[RedisServer], RedisLink]
) -> None:
    one, link = gateway(), links(server)
    before = set(await link.run(lambda redis: redis.keys("trichord:idempotent:*")))
    for key in ("plugh", "other"):
        await one.claim(slot(key))
        await one.finish(slot(key), ANSWER)
    names = set(await link.run(lambda redis: redis.keys("trichord:idempotent:*"))) - before
    values = [await link.run(lambda redis, name=name: redis.get(name)) for name in names]
    assert len(values) == 2
    assert not any(word in text for word in (b"xyzzy", b"plugh", b"acme") for text in (*names, *values))
    for name, value in zip(names, reversed(values), strict=True):  # each in the other's place
        await link.run(lambda redis, name=name, value=value: redis.set(name, value))
    for key in ("plugh", "other"):
        with pytest.raises(ConflictError):
            await gateway().claim(slot(key))


async def test_while_redis_is_away_a_gateway_remembers_its_own(gateway: Open, own_server: RedisServer) -> None:
    one = gateway(server=own_server)
    await one.claim(slot("before"))
    own_server.process.kill()
    own_server.process.wait()
    assert await one.claim(slot()) is None
    with pytest.raises(ConflictError):
        await one.claim(slot())
    await one.finish(slot(), ANSWER)
    assert await one.claim(slot()) == ANSWER
    await one.finish(slot("before"), ANSWER)  # nobody will hear of it, and nobody waits for it
