"""What links to Redis tell: how long commands took, what came of them, and whether the breaker is open."""

from __future__ import annotations

import asyncio

import pytest

from tests.metrics_lab import Page, own_metrics
from tests.redis_lab import RedisServer, running_redis
from tests.unit.gateway.lab import Lab, image
from trichord.breaker import CircuitBreaker
from trichord.errors import OverloadedError
from trichord.redis_link import MAX_FAILURES, RedisAwayError, RedisLink
from trichord.v1 import gateway_pb2

COUNT = "trichord_redis_command_duration_seconds_count"
OPEN = "trichord_redis_breaker_open"


async def test_each_store_is_told_apart(lab: Lab, page: Page) -> None:
    await lab.ask(image())
    assert page.gained(COUNT, store="state", outcome="ok") == 2  # reserved, settled
    assert page.gained(COUNT, store="cache", outcome="ok") >= 1
    assert page.gained(COUNT, store="media") == 0
    await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=b"I"))
    assert page.gained(COUNT, store="media", outcome="ok") >= 1
    assert page.gained(COUNT) == page.gained(COUNT, outcome="ok")


async def test_a_store_that_is_away_shows_and_comes_back() -> None:
    now_s = 0.0
    with running_redis() as server:
        breaker = CircuitBreaker(MAX_FAILURES, 2.0, lambda: now_s)
        link, metrics = RedisLink(server.url, store="cache", timeout_s=0.2, breaker=breaker), own_metrics()
        server.pause()
        for _ in range(MAX_FAILURES + 3):
            with pytest.raises(RedisAwayError):
                await link.run(lambda redis: redis.ping())
        assert metrics.gained(COUNT, store="cache", outcome="away") == MAX_FAILURES  # the others were not sent
        assert metrics.value(OPEN, store="cache") == 1
        server.resume()
        now_s = 10.0
        assert metrics.value(OPEN, store="cache") == 0  # it would be tried: an idle gateway does not cry for ever
        async with asyncio.timeout(20):
            while not await answers(link):
                now_s += 10.0
        assert metrics.value(OPEN, store="cache") == 0
        assert metrics.gained(COUNT, store="cache", outcome="ok") == 1
        await link.close()


async def answers(link: RedisLink) -> bool:
    try:
        await link.run(lambda redis: redis.ping())
    except RedisAwayError:
        return False
    return True


async def test_a_full_store_is_full_and_not_away() -> None:
    with running_redis() as server:
        fill_up(server)
        link, metrics = RedisLink(server.url, timeout_s=20), own_metrics()
        with pytest.raises(OverloadedError):
            await link.run(lambda redis: redis.set("name", b"value"))
        assert metrics.labels(COUNT) == [{"store": "state", "outcome": "full"}]
        assert metrics.value(OPEN, store="state") == 0
        await link.close()


def fill_up(server: RedisServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "1")
