"""What is told of the demand, as an autoscaler reads it from a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.redis_lab import RedisServer, running_redis
from tests.unit.gateway.lab import image, kinds, text
from tests.unit.gateway.waking.lab import SOON_S, SleepyLab, sleepy_lab
from trichord import demand
from trichord.demand import WAKE_CHANNEL, Demand
from trichord.redis_link import RedisLink


@contextlib.asynccontextmanager
async def told(redis: RedisServer) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis.url, timeout_s=SOON_S)
    try:
        yield link
    finally:
        await link.close()


async def vision(
    link: RedisLink, condition: Callable[[Demand], bool] = lambda _: True, modality: demand.Modality = "vision"
) -> Demand:
    """What is told of vision, or another, once something is that the condition holds for."""
    async with asyncio.timeout(SOON_S):
        while True:
            for one in await demand.read_all(link, 0.0):
                if one.modality == modality and condition(one):
                    return one
            await asyncio.sleep(0.02)


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[tuple[SleepyLab, RedisServer]]:
    """A gateway with a Redis that only it tells its demand to."""
    with running_redis() as redis:
        async with sleepy_lab(tmp_path, redis) as sleepy:
            yield sleepy, redis


async def test_what_is_held_is_told_and_then_who_is_ready(own: tuple[SleepyLab, RedisServer]) -> None:
    sleepy, redis = own
    async with told(redis) as link:
        asleep = await vision(link)
        assert (asleep.num_ready_replicas, asleep.queued_cost, asleep.served_cost_per_s_per_replica) == (0, 0, None)
        held = [asyncio.create_task(sleepy.lab.ask(image(bytes([n])))) for n in (1, 2)]
        assert (await vision(link, lambda one: one.num_held == 2)).queued_cost == 2
        sleepy.wake()
        await asyncio.wait_for(asyncio.gather(*held), SOON_S)
        awake = await vision(link, lambda one: one.served_cost_per_s_per_replica is not None)
        assert awake.num_ready_replicas == 1
        assert (awake.queued_cost, awake.running_cost) == (0, 0)
        assert awake.arrived_cost_per_s > 0
        modalities = {one.modality for one in await demand.read_all(link, 0.0)}
    assert modalities == {"vision", "audio", "decoder"}


async def test_a_notice_goes_out_at_once_and_if_it_is_lost_the_next_report_says_the_same(tmp_path: Path) -> None:
    with running_redis() as redis, redis.client() as listener:
        heard = listener.pubsub()
        heard.subscribe(WAKE_CHANNEL)
        assert heard.get_message(timeout=10)
        async with sleepy_lab(tmp_path, redis) as sleepy, told(redis) as link:
            asked = asyncio.create_task(sleepy.lab.ask(image()))
            await sleepy.holds(1)
            message = await asyncio.to_thread(heard.get_message, timeout=10)
            assert message["data"] == b"vision"
            assert (await vision(link, lambda one: one.num_held == 1)).num_held == 1
            sleepy.wake()
            await asyncio.wait_for(asked, SOON_S)
        heard.close()


async def test_redis_away_costs_nothing(tmp_path: Path) -> None:
    with running_redis() as redis:
        async with sleepy_lab(tmp_path, redis) as sleepy, told(redis) as link:
            await vision(link)
            redis.pause()
            held = asyncio.create_task(sleepy.lab.ask(image()))
            await sleepy.holds(1)
            assert kinds(await sleepy.lab.ask(text()))[-1] == "finished"
            redis.resume()
            assert (await vision(link, lambda one: one.num_held == 1)).num_held == 1
            sleepy.wake()
            assert kinds(await asyncio.wait_for(held, SOON_S))[-1] == "finished"


async def test_what_others_know_is_told_too_once_they_do(own: tuple[SleepyLab, RedisServer]) -> None:
    sleepy, redis = own
    known: list[Demand] = []
    sleepy.lab.cluster.waking.tell_of(lambda: known[0] if known else None)
    async with told(redis) as link:
        await vision(link)
        assert "worker" not in {one.modality for one in await demand.read_all(link, 0.0)}
        known.append(Demand(modality="worker", queued_cost=7))
        assert (await vision(link, modality="worker")).queued_cost == 7
