"""The script in a real Valkey against the same bucket in Python, figure for figure."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

import gateway.admission
from gateway.admission.bucket import Buckets
from gateway.admission.cost import Cost
from gateway.admission.limiter import Reservation
from gateway.admission.plan import MAX_RATE, Plan
from gateway.admission.redis_limiter import RedisLimiter, keys
from trichord.redis_link import RedisLink

TEXT = (Path(gateway.admission.__file__).parent / "bucket.lua").read_text()
BUDGETS, SLOTS = keys("acme")
NAMES = ("a", "b", "c", "d")

limits = st.sampled_from([0, 1, 7, 60, 1000, 59_999, 60_001, MAX_RATE]) | st.integers(0, MAX_RATE)
four = lambda values: st.tuples(*[values] * 4)  # noqa: E731
plans = st.tuples(four(limits), st.integers(0, 3))
amounts = st.integers(0, 70_000) | st.integers(0, 2 * MAX_RATE)
steps = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from(NAMES), four(amounts), st.sampled_from([1000, 5000, 60_000])),
    st.tuples(st.just("settle"), st.sampled_from(NAMES), four(st.integers(-(1 << 60), 1 << 60) | st.integers(-99, 99))),
    st.tuples(st.just("pass"), st.sampled_from([1000, 5000]) | st.integers(1, 1_000_000_000)),
    st.tuples(st.just("plan"), plans),
)


class Script:
    """The script, with what is needed to let time pass and to tell what time it ran at."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def run(self, operation: str, name: str, plan: tuple, amounts: tuple, lease_ms: int = 0) -> tuple[list[int], int]:
        """The reply, and the server's clock in ms."""
        pairs = [figure for pair in zip(plan[0], amounts, strict=True) for figure in pair]
        with self.client.pipeline(transaction=True) as pipe:
            pipe.eval(TEXT, 2, BUDGETS, SLOTS, operation, name, lease_ms, plan[1], *pairs)
            pipe.persist(BUDGETS).persist(SLOTS)  # when they expire is a test of its own
            pipe.hget(BUDGETS, "at").time()
            reply, _, _, at, (seconds, microseconds) = pipe.execute()
        return reply, int(at) if reply != [0] else seconds * 1000 + microseconds // 1000

    def pass_ms(self, ms: int) -> None:
        if self.client.exists(BUDGETS):
            self.client.hincrby(BUDGETS, "at", -ms)
        for name in self.client.zrange(SLOTS, 0, -1):
            self.client.zincrby(SLOTS, -ms, name)


def pass_ms(model: Buckets, ms: int) -> None:
    model.at_ms -= ms
    model.leases_ms = {name: end_ms - ms for name, end_ms in model.leases_ms.items()}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans, steps=st.lists(steps, max_size=25))
def test_it_is_the_bucket_in_python(valkey: redis.Redis, plan: tuple, steps: list[tuple]):
    valkey.delete(BUDGETS, SLOTS)
    script, model = Script(valkey), Buckets(at_ms=0)
    for kind, *arguments in steps:
        match kind, arguments:
            case "pass", [ms]:
                script.pass_ms(ms)
                pass_ms(model, ms)
            case "plan", [new_plan]:
                plan = new_plan
            case "reserve", [name, amounts, lease_ms]:
                reply, now_ms = script.run("reserve", name, plan, amounts, lease_ms)
                assert reply == model.reserve(now_ms, plan[0], plan[1], amounts, name, lease_ms)
            case "settle", [name, credits]:
                reply, now_ms = script.run("settle", name, plan, credits)
                assert reply == [model.settle(now_ms, plan[0], credits, name)]


def test_state_lives_until_it_says_nothing_more(valkey: redis.Redis):
    plan, none = ((60, 6000, 0, 10), 4), (0, 0, 0, 0)
    for name, lease_ms in (("a", 500_000), ("b", 200_000)):
        pairs = [figure for pair in zip(plan[0], (1, 3000, 0, 0), strict=True) for figure in pair]
        assert valkey.eval(TEXT, 2, BUDGETS, SLOTS, "reserve", name, lease_ms, 4, *pairs)[0] == 1
    assert 29_000 < valkey.pttl(BUDGETS) <= 60_000  # 6000 of 6000 tokens are back after a minute
    assert 200_000 < valkey.pttl(SLOTS) <= 500_000
    pairs = [figure for pair in zip(plan[0], none, strict=True) for figure in pair]
    assert valkey.eval(TEXT, 2, BUDGETS, SLOTS, "settle", "a", 0, 4, *pairs) == [1]
    assert valkey.zrange(SLOTS, 0, -1) == [b"b"]


def reservation(name: str, plan: Plan, **fields: object) -> Reservation:
    return Reservation(**{"id": name, "tenant": "acme", "plan": plan, "cost": Cost(), "lease_ms": 60_000, **fields})


async def test_of_many_at_once_exactly_the_budget_comes_in(link: RedisLink):
    limiter, plan = RedisLimiter(link), Plan(requests_per_min=1000, tokens_per_min=70, concurrency=100)
    many = [reservation(str(i), plan, cost=Cost(tokens=10)) for i in range(40)]
    verdicts = await asyncio.gather(*map(limiter.reserve, many))
    assert sum(verdict.allowed for verdict in verdicts) == 7
    assert all(verdict.refusal().quota == "tokens" for verdict in verdicts if not verdict.allowed)


async def test_a_restarted_server_is_told_the_script_again(link: RedisLink, valkey: redis.Redis):
    limiter, plan = RedisLimiter(link), Plan()
    assert (await limiter.reserve(reservation("a", plan))).allowed
    valkey.script_flush()
    assert (await limiter.reserve(reservation("b", plan))).allowed
    assert await limiter.settle(reservation("a", plan), Cost())


async def test_a_settlement_counts_once(link: RedisLink):
    limiter, plan = RedisLimiter(link), Plan(tokens_per_min=1000)
    asked = reservation("a", plan, cost=Cost(tokens=600))
    await limiter.reserve(asked)
    assert [await limiter.settle(asked, Cost(tokens=500)) for _ in range(3)] == [True, False, False]
    left = {budget.quota: budget.remaining for budget in (await limiter.reserve(reservation("b", plan))).budgets}
    assert 500 <= left["tokens"] < 1000


async def test_the_slots_of_a_dead_gateway_come_back(link: RedisLink, valkey: redis.Redis):
    limiter, plan = RedisLimiter(link), Plan(concurrency=1)
    assert (await limiter.reserve(reservation("dead", plan, lease_ms=60_000))).allowed
    refused = await limiter.reserve(reservation("next", plan))
    assert (refused.allowed, refused.refusal().quota, refused.refusal().retry_after_s) == (False, "concurrency", 1.0)
    Script(valkey).pass_ms(60_000)
    assert (await limiter.reserve(reservation("next", plan))).allowed


async def test_a_lease_that_ran_out_keeps_the_estimate(link: RedisLink, valkey: redis.Redis):
    limiter, plan = RedisLimiter(link), Plan(tokens_per_min=1000)
    late = reservation("late", plan, cost=Cost(tokens=1000), lease_ms=10)
    await limiter.reserve(late)
    valkey.zincrby(SLOTS, -10, "late")
    assert not await limiter.settle(late, Cost())


@pytest.mark.parametrize("tenant", ["acme", "", "a}b{c", "{}", "tenant:with:colons", "ü\n"])
def test_a_tenants_keys_share_a_hash_slot(tenant: str):
    first, second = keys(tenant)
    assert key_slot(first.encode()) == key_slot(second.encode())
    assert first != second
    assert keys("acme1")[0] != keys("acme2")[0]
