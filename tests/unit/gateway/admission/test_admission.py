"""The front door: what comes in, what is settled, and what a refused caller is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from gateway.admission.admission import Admission
from gateway.admission.assembly import open_admission
from gateway.admission.cost import Cost
from gateway.admission.lanes import Lanes
from gateway.admission.limiter import LocalLimiter, Reservation
from gateway.admission.plan import Plan, Plans
from gateway.admission.priority_queue import Priority
from gateway.admission.redis_limiter import keys
from gateway.admission.settings import AdmissionSettings
from gateway.admission.verdict import Verdict
from tests.metrics_lab import own_metrics
from trichord.errors import QuotaError, UnavailableError
from trichord.redis_link import RedisLink

PLAN = Plan(requests_per_min=60, tokens_per_min=1000, tiles_per_min=10, audio_seconds_per_min=60, concurrency=2)


class Scripted(LocalLimiter):
    """A limiter with a clock that stands still, that can be held up, fail, and tells what was settled."""

    def __init__(self) -> None:
        super().__init__(1.0, lambda: 100.0)
        self.settled: list[Cost] = []
        self.gate, self.error = asyncio.Event(), None
        self.gate.set()

    async def reserve(self, reservation: Reservation) -> Verdict:
        await self.gate.wait()
        if self.error:
            raise self.error
        return await super().reserve(reservation)

    async def settle(self, reservation: Reservation, actual: Cost) -> bool:
        if self.error:
            raise self.error
        self.settled.append(actual)
        return await super().settle(reservation, actual)


class Door:
    def __init__(self, plan: Plan = PLAN) -> None:
        self.limiter, self.metrics = Scripted(), own_metrics()
        plans = Plans(plan)
        self.admission = Admission(self.limiter, plans, Lanes({}, plans))

    def admitted(self, **estimate: int):
        return self.admission.admitted("acme", Cost(**estimate), 60.0)

    def left(self) -> dict[str, int]:
        """What the tenant has left."""
        now = self.limiter._buckets["acme"].reserve(100_000, PLAN.limits(), 2, (0, 0, 0, 0), "look", 0)
        return dict(zip(("requests", "tokens", "tiles", "audio_ms", "slots"), now[1::2], strict=True))


async def test_an_estimate_is_reserved_and_the_rest_given_back():
    door = Door()
    async with door.admitted(tokens=800, tiles=9, audio_ms=50_000) as grant:
        assert {b.quota: b.remaining for b in door.admission.standing.of("acme")} == {
            "requests": 59,
            "tokens": 200,
            "tiles": 1,
            "audio_seconds": 10_000,
            "concurrency": 1,
        }
        grant.settle(Cost(tokens=10))
        grant.settle(Cost(tokens=300, tiles=3, audio_ms=4000))
    left = {"requests": 59, "tokens": 700, "tiles": 7, "audio_ms": 56_000, "slots": 1}
    assert door.left() == left  # of the two slots this look takes one
    assert door.metrics.gained("trichord_sheds_total") == 0


async def test_an_overrun_is_taken():
    door = Door()
    async with door.admitted(tokens=100) as grant:
        grant.settle(Cost(tokens=2500))
    assert door.left()["tokens"] == -1500
    with pytest.raises(QuotaError) as refused:
        async with door.admitted(tokens=100):
            pytest.fail("it came in")
    assert (refused.value.quota, refused.value.retry_after_s) == ("tokens", 96.0)


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_what_fails_gets_back_all_that_it_did_not_use(error):
    door = Door()

    async def fail() -> None:
        async with door.admitted(tokens=500, tiles=5) as grant:
            grant.add(Cost(tokens=15, tiles=2))
            grant.add(Cost(tokens=5, audio_ms=1000))
            raise error

    with pytest.raises(error):
        await fail()
    left = door.left()
    assert left == {"requests": 59, "tokens": 980, "tiles": 8, "audio_ms": 59_000, "slots": 1}


@pytest.mark.parametrize(
    ("estimate", "plan", "quota", "retry_after_s", "message"),
    [
        ({"tokens": 1001}, {}, "tokens", None, "larger than your budget of 1000 tokens a minute ever gets"),
        ({"tiles": 11}, {}, "tiles", None, "larger than your budget of 10 tiles a minute"),
        ({"audio_ms": 60_001}, {}, "audio_seconds", None, "budget of 60 audio seconds a minute"),
        ({}, {"requests_per_min": 0}, "requests", None, "budget of 0 requests a minute"),
        ({}, {"concurrency": 0}, "concurrency", None, "budget of 0 requests at once"),
        ({}, {"concurrency": 1}, "concurrency", 1.0, "Of your budget of 1 requests at once too little is left"),
        ({"tokens": 600}, {}, "tokens", 12.0, "too little is left. Try again in 12.0 s"),
        ({"tiles": 7, "tokens": 600}, {}, "tiles", 24.0, "Of your budget of 10 tiles a minute"),
        ({"audio_ms": 30_001}, {}, "audio_seconds", 0.001, "Of your budget of 60 audio seconds a minute"),
    ],
)
async def test_a_refusal_says_which_budget_and_how_long(estimate, plan, quota, retry_after_s, message):
    door = Door(PLAN.model_copy(update=plan))
    try:
        async with door.admitted(tokens=600, tiles=7, audio_ms=30_000):
            with pytest.raises(QuotaError, match=message) as refused:
                await door.admitted(**estimate).__aenter__()
    except QuotaError as error:  # the plan allows not even the first
        refused = pytest.ExceptionInfo.from_exception(error)
        refused.match(message)
    assert (refused.value.quota, refused.value.retry_after_s) == (quota, retry_after_s)
    of = {"tokens": "text", "tiles": "image", "audio_seconds": "audio"}.get(quota, "all")
    assert door.metrics.labels("trichord_sheds_total") == [{"reason": f"quota_{quota}", "modality": of}]


async def test_a_refused_request_takes_nothing():
    door = Door()
    async with door.admitted(tokens=600):
        for _ in range(5):
            with pytest.raises(QuotaError):
                await door.admitted(tokens=600, tiles=1).__aenter__()
    assert door.left() == {"requests": 59, "tokens": 1000, "tiles": 10, "audio_ms": 60_000, "slots": 1}
    assert len(door.limiter.settled) == 1


async def test_a_caller_who_leaves_while_it_is_let_in_leaves_nothing_behind():
    door = Door()
    door.limiter.gate.clear()

    async def come() -> None:
        async with door.admitted(tokens=600):
            pytest.fail("it came in")

    caller = asyncio.create_task(come())
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    caller.cancel()  # and once more, out of the waiting for the settlement
    with pytest.raises(asyncio.CancelledError):
        await caller
    door.limiter.gate.set()
    await door.admission.close()
    left = door.left()
    assert (left["tokens"], left["slots"]) == (1000, 1)


async def test_an_answer_that_is_closed_half_way_is_settled():
    door = Door()

    async def answer() -> AsyncIterator[int]:
        async with door.admitted(tokens=500) as grant:
            for token in range(100):
                grant.add(Cost(tokens=1))
                yield token

    tokens = answer()
    assert [await anext(tokens) for _ in range(3)] == [0, 1, 2]
    await tokens.aclose()
    assert (door.left()["tokens"], door.left()["slots"]) == (997, 1)


async def test_when_the_call_has_ended_its_slot_is_free():
    door = Door(PLAN.model_copy(update={"concurrency": 1}))
    for _ in range(10):
        async with door.admitted():
            pass
    assert door.metrics.gained("trichord_sheds_total") == 0


async def test_who_cannot_be_settled_is_counted_and_not_told():
    door = Door()
    async with door.admitted(tokens=600):
        door.limiter.error = UnavailableError("away")
    assert door.metrics.gained("trichord_admission_lost_settlements_total") == 1


async def test_budgets_that_cannot_be_looked_at_refuse_if_nobody_guesses():
    door = Door()
    door.limiter.error = UnavailableError("away")
    with pytest.raises(UnavailableError, match="Quotas cannot be checked now") as refused:
        await door.admitted().__aenter__()
    assert refused.value.retry_after_s == 1.0
    assert door.metrics.labels("trichord_sheds_total") == [{"reason": "budgets_away", "modality": "all"}]


async def test_gateways_share_budgets_in_redis(link: RedisLink, valkey: redis.Redis):
    metrics, settings = own_metrics(), AdmissionSettings(tokens_per_min=1000)
    first, second = open_admission(settings, link), open_admission(settings, link)
    async with first.admitted("acme", Cost(tokens=900), 60.0):
        with pytest.raises(QuotaError):
            await second.admitted("acme", Cost(tokens=900), 60.0).__aenter__()
        async with second.admitted("other", Cost(tokens=900), 60.0):
            assert valkey.zcard(keys("acme")[1]) == 1
    async with second.admitted("acme", Cost(tokens=900), 60.0) as grant:
        grant.settle(Cost(tokens=900))
    assert metrics.gained("trichord_admission_fallbacks_total") == 0
    assert valkey.zcard(keys("acme")[1]) == 0


@pytest.mark.parametrize("fail_closed", [False, True])
async def test_without_redis_requests_come_in_by_a_share_or_not_at_all(fail_closed, unused_tcp_port):
    metrics, link = own_metrics(), RedisLink(f"redis://127.0.0.1:{unused_tcp_port}")
    admission = open_admission(AdmissionSettings(concurrency=8, local_share=0.25, fail_closed=fail_closed), link)
    if fail_closed:
        with pytest.raises(UnavailableError):
            await admission.admitted("acme", Cost(), 60.0).__aenter__()
    else:
        async with admission.admitted("acme", Cost(), 60.0), admission.admitted("acme", Cost(), 60.0):
            with pytest.raises(QuotaError, match="2 requests at once"):
                await admission.admitted("acme", Cost(), 60.0).__aenter__()
        assert metrics.gained("trichord_admission_fallbacks_total") == 3
    await admission.close()
    await link.close()


async def test_a_gateway_alone_needs_no_redis_and_defaults_let_a_trial_work():
    metrics, admission = own_metrics(), open_admission(AdmissionSettings(), link=None)
    async with admission.admitted("", Cost(tokens=200_000, tiles=100, audio_ms=3_600_000), 60.0):
        for lane in ("text", "image", "audio"):
            async with admission.lanes.slot(lane, "", 1, Priority.LIVE, 60.0) as ticket:
                assert ticket.waited_s >= 0
    assert metrics.gained("trichord_sheds_total") == 0
