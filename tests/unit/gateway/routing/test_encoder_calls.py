"""Unary calls over several real replicas: who takes them, and what happens when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from gateway.routing.pool import MAX_SAVED_RETRIES
from tests.unit.gateway.fakes import Context, FakeVision, forever, raising
from tests.unit.gateway.routing.lab import Fleet, black_hole, encode, fleet, replica, until, vision_pool
from trichord.errors import (
    DeadlineError,
    InternalError,
    MediaError,
    OverloadedError,
    TrichordError,
    UnavailableError,
)
from trichord.v1 import vision_pb2

Vision = Fleet[FakeVision]

GONE = UnavailableError("Gone.", retry_after_s=0)
"""Of a replica that may be called again at once."""


@pytest.fixture
async def two() -> AsyncIterator[Vision]:
    async with fleet(FakeVision, 2) as running:
        yield running


@pytest.fixture
async def one() -> AsyncIterator[Vision]:
    async with fleet(FakeVision, 1) as running:
        yield running


def everywhere(running: Vision, error: TrichordError) -> None:
    for fake in running.fakes:
        fake.step = raising(error)


# Who takes a call


async def test_the_next_call_goes_to_the_replica_with_less_cost(two: Vision) -> None:
    two.fakes[0].step = two.fakes[1].step = forever
    async with vision_pool(two.target) as pool:
        large = asyncio.create_task(encode(pool, cost=10))
        busy = await two.entered()
        small = [asyncio.create_task(encode(pool, cost=3)) for _ in range(3)]
        await until(lambda: sum(two.num_requests) == 4)
        assert two.num_requests[busy] == 1
        assert replica(pool, two.addresses[busy]).cost == 10
        assert replica(pool, two.addresses[1 - busy]).num_calls == 3
        for task in (large, *small):
            task.cancel()
        await asyncio.gather(large, *small, return_exceptions=True)
        assert [(one.num_calls, one.cost) for one in pool.snapshot()] == [(0, 0.0), (0, 0.0)]


async def test_a_replica_that_says_it_cannot_serve_gets_nothing_until_it_can(two: Vision) -> None:
    await two.say(1, serving=True)
    async with vision_pool(two.target) as pool:
        await until(lambda: [one.health for one in pool.snapshot()] == ["not_serving", "serving"])
        for _ in range(8):
            await encode(pool)
        assert two.num_requests == [0, 8]
        await two.say(0, serving=True)
        await two.say(1, serving=False)
        await until(lambda: [one.health for one in pool.snapshot()] == ["serving", "not_serving"])
        await encode(pool)
        assert two.num_requests == [1, 8]


async def test_replicas_that_all_say_they_cannot_serve_are_asked_all_the_same(one: Vision) -> None:
    async with vision_pool(one.target) as pool:
        await until(lambda: pool.snapshot()[0].health == "not_serving")
        await encode(pool)
        assert one.num_requests == [1]


# A replica fails


async def test_a_dead_replica_is_covered_by_another(two: Vision) -> None:
    await two.stop(0)
    async with vision_pool(two.target) as pool:
        for _ in range(6):
            await encode(pool)
        assert two.num_requests == [0, 6]


async def test_a_replica_killed_with_calls_in_progress_loses_none_of_them(two: Vision) -> None:
    two.fakes[0].step = two.fakes[1].step = forever
    async with vision_pool(two.target) as pool:
        calls = [asyncio.create_task(encode(pool, str(i).encode())) for i in range(6)]
        await until(lambda: two.num_requests == [3, 3])
        lost = {request.image for request in two.fakes[0].calls.requests}
        await two.stop(0)
        await until(lambda: two.num_requests == [3, 6])
        assert {request.image for request in two.fakes[1].calls.requests[3:]} == lost
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_replicas_that_flap_in_turn_are_not_noticed(two: Vision) -> None:
    async with vision_pool(two.target) as pool:
        for index in (0, 1, 0, 1):
            await two.stop(index)
            for _ in range(3):
                await encode(pool)
            await two.restart(index)
            await until(lambda: "unreachable" not in [one.health for one in pool.snapshot()])
        assert sum(two.num_requests) == 12


async def test_all_down_is_unavailable_with_a_time_and_at_once_when_it_is_known(two: Vision) -> None:
    await two.stop(0)
    await two.stop(1)
    async with vision_pool(two.target, breaker_failures=1, breaker_open_s=600) as pool:
        with pytest.raises(UnavailableError, match="The vision encoder does not answer") as caught:
            await encode(pool)
        assert caught.value.retry_after_s
        assert [one.breaker for one in pool.snapshot()] == ["open", "open"]
        with pytest.raises(UnavailableError, match="No replica of the vision encoder takes calls") as caught:
            await encode(pool)
        assert caught.value.retry_after_s is not None
        assert 500 < caught.value.retry_after_s <= 600


async def test_a_replica_that_comes_back_is_probed_by_one_call(one: Vision) -> None:
    one.fakes[0].step = raising(GONE)
    async with vision_pool(one.target, breaker_failures=1, breaker_open_s=0.2, max_attempts=1) as pool:
        with pytest.raises(UnavailableError):
            await encode(pool)
        one.fakes[0].step = forever
        await until(lambda: pool.snapshot()[0].breaker == "half_open")
        probe = asyncio.create_task(encode(pool))
        await until(lambda: one.fakes[0].calls.num_running == 1)
        with pytest.raises(UnavailableError, match="No replica"):
            await encode(pool)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        one.fakes[0].step = FakeVision().step
        await encode(pool)
        assert pool.snapshot()[0].breaker == "closed"


async def test_a_peer_that_cancels_is_leaving(two: Vision, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that arrives as a server stops can end so; seen by nobody, as another replica answers."""
    await until_first_fails(two, monkeypatch, grpc.StatusCode.CANCELLED, ())
    async with vision_pool(two.target) as pool:
        await encode(pool)
        assert sum(two.num_requests) == 1


async def until_first_fails(
    running: Vision,
    monkeypatch: pytest.MonkeyPatch,
    code: grpc.StatusCode,
    trailers: tuple[tuple[str, str], ...],
    num_failures: int = 1,
) -> None:
    """The first calls of all fail with a status that no error of ours makes."""
    whole, num_failed = FakeVision.EncodeImage, 0

    async def failing(
        self: FakeVision, request: vision_pb2.EncodeImageRequest, context: Context
    ) -> vision_pb2.EncodeImageResponse:
        nonlocal num_failed
        num_failed += 1
        if num_failed <= num_failures:
            await context.abort(code, "secret", trailing_metadata=trailers)
        return await whole(self, request, context)

    monkeypatch.setattr(FakeVision, "EncodeImage", failing)
    for index in range(len(running.fakes)):  # handlers are bound when a server starts
        await running.stop(index)
        await running.restart(index)


async def test_a_server_that_forbids_to_retry_is_obeyed(two: Vision, monkeypatch: pytest.MonkeyPatch) -> None:
    trailers = (("grpc-retry-pushback-ms", "-1"),)
    await until_first_fails(two, monkeypatch, grpc.StatusCode.UNAVAILABLE, trailers)
    async with vision_pool(two.target) as pool:
        with pytest.raises(UnavailableError) as caught:
            await encode(pool)
        assert caught.value.retry_after_s is None
        assert "secret" not in caught.value.message
        assert two.num_requests == [0, 0]


async def test_a_server_that_says_when_to_come_back_gets_nothing_until_then(
    two: Vision, monkeypatch: pytest.MonkeyPatch
) -> None:
    trailers = (("grpc-retry-pushback-ms", "20000"),)
    await until_first_fails(two, monkeypatch, grpc.StatusCode.UNAVAILABLE, trailers)
    async with vision_pool(two.target) as pool:
        for _ in range(5):
            await encode(pool)
        assert sorted(two.num_requests) == [0, 5]
        assert [one.pushed_back_for_s > 0 for one in pool.snapshot()] == [count == 0 for count in two.num_requests]


# Overload, and the request's own fault


async def test_an_overloaded_replica_is_spared_until_it_asked_for(two: Vision) -> None:
    two.fakes[0].step = raising(OverloadedError("Full.", retry_after_s=20))
    async with vision_pool(two.target) as pool:
        for _ in range(12):
            await encode(pool)
        assert two.num_requests == [1, 12] or two.num_requests == [0, 12]
        first = replica(pool, two.addresses[0])
        assert first.breaker == "closed"
        assert (first.pushed_back_for_s > 0) == (two.num_requests[0] == 1)


async def test_replicas_that_are_all_away_for_a_while_are_not_overloaded(two: Vision) -> None:
    everywhere(two, UnavailableError("Loading.", retry_after_s=20))
    async with vision_pool(two.target) as pool:
        with pytest.raises(UnavailableError, match="Loading"):
            await encode(pool)
        with pytest.raises(UnavailableError, match="No replica of the vision encoder takes calls") as caught:
            await encode(pool)
        assert caught.value.retry_after_s is not None
        assert 10 < caught.value.retry_after_s <= 20
        assert two.num_requests == [1, 1]


async def test_overload_of_all_is_told_and_not_retried(two: Vision) -> None:
    everywhere(two, OverloadedError("Full.", retry_after_s=20))
    async with vision_pool(two.target) as pool:
        with pytest.raises(OverloadedError, match="Full") as caught:
            await encode(pool)
        assert caught.value.retry_after_s == 20
        with pytest.raises(OverloadedError, match="Every replica of the vision encoder is overloaded") as caught:
            await encode(pool)
        assert caught.value.retry_after_s is not None
        assert 10 < caught.value.retry_after_s <= 20
        assert two.num_requests == [1, 1]


@pytest.mark.parametrize("error", [MediaError("Not an image.", field="image"), InternalError("Bug.")])
async def test_what_would_fail_again_is_not_sent_again(two: Vision, error: TrichordError) -> None:
    everywhere(two, error)
    async with vision_pool(two.target, breaker_failures=1) as pool:
        for _ in range(4):
            with pytest.raises(type(error)):
                await encode(pool)
        assert sum(two.num_requests) == 4
        assert [one.breaker for one in pool.snapshot()] == ["closed", "closed"]


async def test_a_replica_with_a_bug_of_its_own_is_left_out_for_a_while(two: Vision) -> None:
    two.fakes[0].step = raising(InternalError("Bug."))
    async with vision_pool(two.target) as pool:
        for _ in range(60):
            await asyncio.gather(encode(pool), return_exceptions=True)
            if replica(pool, two.addresses[0]).ejected_for_s:
                break
        assert replica(pool, two.addresses[0]).ejected_for_s > 0
        before = two.num_requests[0]
        for _ in range(5):
            await encode(pool)
        assert two.num_requests[0] == before


# Retries have ends


async def test_no_more_attempts_than_told(two: Vision) -> None:
    everywhere(two, GONE)
    async with vision_pool(two.target, max_attempts=3) as pool:
        with pytest.raises(UnavailableError, match="Gone"):
            await encode(pool)
        assert sorted(two.num_requests) == [1, 2]


async def test_no_more_retries_than_the_budget_has(two: Vision) -> None:
    everywhere(two, GONE)
    limits = {"max_attempts": 2, "retry_ratio": 0.0, "retry_min_per_s": 0.0, "breaker_failures": 1000}
    async with vision_pool(two.target, **limits) as pool:
        for _ in range(70):
            with pytest.raises(UnavailableError):
                await encode(pool)
        assert sum(two.num_requests) == 70 + MAX_SAVED_RETRIES


async def test_nothing_is_retried_for_a_caller_who_left(two: Vision) -> None:
    two.fakes[0].step = two.fakes[1].step = forever
    async with vision_pool(two.target, breaker_failures=1) as pool:
        call = asyncio.create_task(encode(pool))
        busy = await two.entered()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(two.fakes[busy].calls.cancelled.wait(), 20)
        assert sum(two.num_requests) == 1
        assert [(one.num_calls, one.breaker) for one in pool.snapshot()] == [(0, "closed"), (0, "closed")]


async def test_nothing_is_retried_after_the_deadline_and_no_breaker_opens(two: Vision) -> None:
    """Half of it is no time to answer in, so that the first attempt has it all."""
    two.fakes[0].step = two.fakes[1].step = forever
    async with vision_pool(two.target, breaker_failures=1) as pool:
        with pytest.raises(DeadlineError):
            await encode(pool, timeout_s=0.3)
        assert sum(two.num_requests) == 1
        assert [one.breaker for one in pool.snapshot()] == ["closed", "closed"]


# Silence


async def test_a_black_hole_is_left_in_time_for_another_and_then_avoided(one: Vision) -> None:
    async with black_hole() as hole, vision_pool(f"{hole},{one.target}", is_heard=False, attempt_timeout_s=0.2) as pool:
        await until(lambda: replica(pool, one.addresses[0]).health == "not_serving")
        assert replica(pool, hole).health == "unknown"  # so it is preferred
        for _ in range(5):
            await encode(pool)
        assert one.num_requests == [5]
        assert replica(pool, hole).breaker == "open"


async def test_a_black_hole_gets_nothing_while_another_says_that_it_serves(one: Vision) -> None:
    await one.say(0, serving=True)
    async with black_hole() as hole, vision_pool(f"{hole},{one.target}", is_heard=False, max_attempts=1) as pool:
        await until(lambda: replica(pool, one.addresses[0]).health == "serving")
        for _ in range(5):
            await encode(pool)
        assert one.num_requests == [5]


async def test_half_of_a_short_deadline_is_kept_for_another_and_counts_against_nobody(two: Vision) -> None:
    stuck = {"left": 1}

    async def first_is_stuck(content: bytes) -> None:
        if stuck["left"]:
            stuck["left"] -= 1
            await forever(content)

    two.fakes[0].step = two.fakes[1].step = first_is_stuck
    async with vision_pool(two.target, breaker_failures=1) as pool:
        await encode(pool, timeout_s=4)
        assert two.num_requests == [1, 1]
        assert [one.breaker for one in pool.snapshot()] == ["closed", "closed"]


async def test_the_only_replica_has_all_the_time(one: Vision) -> None:
    async def slow(content: bytes) -> None:
        await asyncio.sleep(0.3)

    one.fakes[0].step = slow
    async with vision_pool(one.target, attempt_timeout_s=0.05) as pool:
        await encode(pool)
        assert one.num_requests == [1]
