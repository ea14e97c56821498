"""Budgets while Redis is there, away, or late with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest
import redis

from gateway.admission import limiter
from gateway.admission.cost import Cost
from gateway.admission.limiter import FallbackLimiter, LocalLimiter, Reservation
from gateway.admission.plan import Plan
from gateway.admission.redis_limiter import RedisLimiter, keys
from gateway.admission.verdict import Verdict
from tests.metrics_lab import own_metrics
from trichord.errors import OverloadedError, UnavailableError
from trichord.redis_link import RedisLink

PLAN = Plan(requests_per_min=100, tokens_per_min=1000, concurrency=3)


def reservation(name: str, tokens: int = 0, plan: Plan = PLAN, tenant: str = "acme") -> Reservation:
    return Reservation(name, tenant, plan, Cost(tokens=tokens), lease_ms=60_000)


def remaining(verdict: Verdict) -> dict[str, int]:
    return {budget.quota: budget.remaining for budget in verdict.budgets}


class Switchable:
    """A shared limiter that can be away, or act and then lose the answer."""

    def __init__(self) -> None:
        self.inner, self.error, self.acts = LocalLimiter(1.0), None, True

    async def reserve(self, asked: Reservation) -> Verdict:
        verdict = await self.inner.reserve(asked) if self.acts else None
        if self.error:
            raise self.error
        return verdict

    async def settle(self, asked: Reservation, actual: Cost) -> bool:
        settled = self.acts and await self.inner.settle(asked, actual)
        if self.error:
            raise self.error
        return settled


async def test_the_local_limiter_hands_out_its_share():
    local = LocalLimiter(share=0.5)
    verdict = await local.reserve(reservation("a", tokens=500))
    assert remaining(verdict) == {
        "requests": 49,
        "tokens": 0,
        "tiles": 500_000,
        "audio_seconds": 500_000_000,
        "concurrency": 1,
    }
    assert (await local.reserve(reservation("b", tokens=400))).refusal().quota == "tokens"
    assert await local.settle(reservation("a", tokens=500), Cost(tokens=100))
    assert not await local.settle(reservation("a", tokens=500), Cost(tokens=100))
    assert not await local.settle(reservation("a", tenant="stranger"), Cost())
    assert 400 <= remaining(await local.reserve(reservation("c")))["tokens"] < 500


async def test_what_only_the_whole_budget_holds_may_be_asked_again():
    local = LocalLimiter(share=0.5)
    assert (await local.reserve(reservation("a", tokens=501))).refusal().retry_after_s == 2.0
    assert (await local.reserve(reservation("b", tokens=1001))).refusal().retry_after_s is None


async def test_the_local_limiter_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limiter, "MAX_LOCAL_TENANTS", 10)
    local = LocalLimiter(share=1.0)
    for i in range(50):
        await local.reserve(reservation("busy", tokens=10, tenant="busy"))
        await local.reserve(reservation(str(i), tenant=str(i)))
    assert len(local._buckets) == 10
    assert remaining(await local.reserve(reservation("busy", tenant="busy")))["tokens"] < 900


@pytest.mark.parametrize("error", [UnavailableError("away"), OverloadedError("full")])
async def test_while_the_shared_one_is_away_the_local_one_decides(error):
    shared, metrics = Switchable(), own_metrics()
    both = FallbackLimiter(shared, LocalLimiter(0.5))
    assert remaining(await both.reserve(reservation("a")))["concurrency"] == 2
    shared.error, shared.acts = error, False
    assert remaining(await both.reserve(reservation("b")))["concurrency"] == 1
    assert await both.settle(reservation("b"), Cost())
    with pytest.raises(type(error)):
        await both.settle(reservation("a"), Cost())
    shared.error, shared.acts = None, True
    assert await both.settle(reservation("a"), Cost())
    assert metrics.gained("trichord_admission_fallbacks_total") == 1


async def test_a_slot_that_was_taken_unseen_is_given_back():
    shared = Switchable()
    both = FallbackLimiter(shared, LocalLimiter(0.5))
    shared.error = UnavailableError("the answer came too late")
    await both.reserve(reservation("a"))
    shared.error = None
    assert remaining(await both.reserve(reservation("b")))["concurrency"] == 1
    assert await both.settle(reservation("a"), Cost())
    assert remaining(await both.reserve(reservation("c")))["concurrency"] == 1


@asynccontextmanager
async def hung(unused_tcp_port: int) -> AsyncIterator[None]:
    """A server that takes connections and never says a word."""
    leave = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await leave.wait()

    server = await asyncio.start_server(hang, "127.0.0.1", unused_tcp_port)
    yield
    leave.set()
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def refusing(unused_tcp_port: int) -> AsyncIterator[None]:
    """Nobody listens."""
    yield


@pytest.mark.parametrize("server", [hung, refusing])
async def test_a_redis_that_is_away_is_never_waited_for_long(server, unused_tcp_port: int):
    link, metrics = RedisLink(f"redis://127.0.0.1:{unused_tcp_port}"), own_metrics()
    both = FallbackLimiter(RedisLimiter(link), LocalLimiter(0.5))
    async with server(unused_tcp_port), asyncio.timeout(30):  # waits of the client library's own choosing are minutes
        for i in range(50):
            assert (await both.reserve(reservation(str(i)))).allowed
            assert await both.settle(reservation(str(i)), Cost())
    with pytest.raises(UnavailableError):
        await RedisLimiter(link).reserve(reservation("a"))
    assert metrics.gained("trichord_admission_fallbacks_total") == 50
    await link.close()


async def test_redis_and_this_process_decide_alike(link: RedisLink):
    shared, local = RedisLimiter(link), LocalLimiter(1.0)
    for i, tokens in enumerate((1001, 600, 600, 400, 0, 300)):
        ours, theirs = [await each.reserve(reservation(str(i), tokens)) for each in (shared, local)]
        assert ours.allowed == theirs.allowed
        assert [(b.quota, b.limit) for b in ours.budgets] == [(b.quota, b.limit) for b in theirs.budgets]


async def test_a_broken_state_in_redis_is_away_and_not_an_answer(link: RedisLink, valkey: redis.Redis):
    valkey.set(keys("acme")[0], "not a hash")
    with pytest.raises(UnavailableError):
        await RedisLimiter(link).reserve(reservation("a"))
