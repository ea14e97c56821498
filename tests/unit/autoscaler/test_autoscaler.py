"""The loop over a real Redis: it wakes at once, holds without data, and goes on after every failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import structlog

from autoscaler.actuator import Replicas
from autoscaler.autoscaler import Autoscaler
from autoscaler.decisions import MAX_CHANGES, Decisions
from autoscaler.fleet import Fleet
from autoscaler.rules import FleetRules, Rules
from tests.redis_lab import RedisServer
from trichord.demand import Demand, Modality, publish
from trichord.errors import ConflictError, UnavailableError
from trichord.redis_link import RedisLink

RULES = FleetRules(modalities={"vision": Rules(default_rate=10.0), "audio": Rules(default_rate=10.0)})


class Cluster:
    """An actuator whose replicas are ready at once."""

    def __init__(self) -> None:
        self.counts: dict[Modality, int] = {"vision": 0, "audio": 2}
        self.scaled: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self.scaled_event = asyncio.Event()
        self.looks = 0

    async def replicas(self, demands: Mapping[Modality, Demand]) -> Mapping[Modality, Replicas]:
        self.looks += 1
        if isinstance(self.error, UnavailableError):
            raise self.error
        return {modality: Replicas(count, count) for modality, count in self.counts.items()}

    async def scale(self, modality: Modality, seen: Replicas, replicas: int, reason: str) -> bool:
        if self.error:
            raise self.error
        self.counts[modality] = replicas
        self.scaled.append((modality, replicas))
        self.scaled_event.set()
        return True

    async def close(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_server.url, timeout_s=5.0)
    yield link
    await link.close()


@pytest.fixture
def autoscaler(link: RedisLink, cluster: Cluster, clock: Clock) -> Autoscaler:
    return Autoscaler(Fleet(RULES), link, cluster, Decisions(), clock)


async def test_demand_makes_replicas_and_is_explained(
    autoscaler: Autoscaler, cluster: Cluster, link: RedisLink
) -> None:
    await publish(link, "g", [Demand(modality="vision", queued_cost=2, num_held=2), Demand(modality="audio")])
    await autoscaler.turn()
    assert cluster.scaled == [("vision", 1)]
    assert autoscaler.decisions.of("vision").reason == "Woken from 0 to 1: 2 requests held for it to wake."
    [change] = autoscaler.decisions.changes
    assert (change.modality, change.seen, change.decision.replicas) == ("vision", Replicas(0, 0), 1)


async def test_a_notice_ends_the_wait_for_the_next_turn(autoscaler: Autoscaler, cluster: Cluster) -> None:
    """The next turn is an hour away, and no gateway has told of the request yet: only the notice can bring it."""
    running = asyncio.create_task(autoscaler.run(3600.0))
    async with asyncio.timeout(20):
        while not cluster.looks:  # noqa: ASYNC110 - another process, or a fake
            await asyncio.sleep(0.01)
        autoscaler.wake("vision")
        await cluster.scaled_event.wait()
    assert cluster.scaled == [("vision", 1)]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_many_notices_make_one_turn(autoscaler: Autoscaler, cluster: Cluster) -> None:
    running = asyncio.create_task(autoscaler.run(3600.0))
    async with asyncio.timeout(20):
        while not cluster.looks:  # noqa: ASYNC110 - another process, or a fake
            await asyncio.sleep(0.01)
        for _ in range(1000):
            autoscaler.wake("vision")
        while cluster.looks < 2:  # noqa: ASYNC110 - another process, or a fake
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert cluster.looks == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_notice_changes_nothing_for_one_that_is_awake(
    autoscaler: Autoscaler, cluster: Cluster, clock: Clock
) -> None:
    autoscaler.wake("audio")
    await autoscaler.turn()
    assert cluster.scaled == []
    assert "no gateway tells of it" in autoscaler.decisions.of("audio").reason


async def test_a_woken_sleeper_sleeps_again_only_when_idle(
    autoscaler: Autoscaler, cluster: Cluster, clock: Clock, link: RedisLink
) -> None:
    """The request that the notice told of did not wait: it is in no report."""
    await publish(link, "g", [Demand(modality="vision"), Demand(modality="audio", arrived_cost_per_s=1)])
    await autoscaler.turn()
    autoscaler.wake("vision")
    counts = []
    for _ in range(61):
        await autoscaler.turn()
        counts.append(cluster.counts["vision"])
        clock.now_s += 5
    assert counts == [1] * 60 + [0]


async def test_no_gateway_means_hold(autoscaler: Autoscaler, cluster: Cluster, clock: Clock) -> None:
    for _ in range(1000):
        clock.now_s += 60
        await autoscaler.turn()
        if cluster.looks == 20:
            break
    assert cluster.scaled == []
    assert "no gateway tells of it" in autoscaler.decisions.of("audio").reason


async def test_a_redis_that_goes_away_means_hold(
    autoscaler: Autoscaler, cluster: Cluster, clock: Clock, link: RedisLink, redis_server: RedisServer
) -> None:
    await publish(link, "g", [Demand(modality="audio", arrived_cost_per_s=5), Demand(modality="vision")])
    await autoscaler.turn()
    redis_server.process.kill()
    redis_server.process.wait()
    with structlog.testing.capture_logs() as logs:
        for _ in range(20):
            clock.now_s += 60
            await autoscaler.turn()
    assert cluster.counts == {"vision": 0, "audio": 2}
    assert "the newest report is 1200 s old" in autoscaler.decisions.of("audio").reason
    assert [entry["event"] for entry in logs].count("demands cannot be read") == 1, "told once, not each second"


async def test_a_clock_that_is_wrong_at_the_gateway_changes_nothing(
    autoscaler: Autoscaler, cluster: Cluster, link: RedisLink
) -> None:
    for at_s in (0.0, 1e12):
        await publish(link, "g", [Demand(modality="vision", queued_cost=1, num_held=1, at_s=at_s)])
        cluster.counts["vision"] = 0
        await autoscaler.turn()
        assert cluster.counts["vision"] == 1


async def test_replicas_that_cannot_be_seen_are_left_alone(
    autoscaler: Autoscaler, cluster: Cluster, link: RedisLink
) -> None:
    await publish(link, "g", [Demand(modality="vision", queued_cost=1, num_held=1)])
    cluster.error = UnavailableError("away")
    await autoscaler.turn()
    assert autoscaler.decisions.latest == {}
    cluster.error = None
    await autoscaler.turn()
    assert cluster.scaled == [("vision", 1)]


async def test_a_scaling_that_fails_is_tried_at_the_next_turn(
    autoscaler: Autoscaler, cluster: Cluster, link: RedisLink
) -> None:
    await publish(link, "g", [Demand(modality="vision", queued_cost=1, num_held=1)])
    cluster.error = ConflictError("another was faster")
    await autoscaler.turn()
    assert cluster.counts["vision"] == 0
    cluster.error = None
    await autoscaler.turn()
    assert cluster.counts["vision"] == 1


async def test_it_remembers_the_last_changes_and_no_more(
    autoscaler: Autoscaler, cluster: Cluster, link: RedisLink
) -> None:
    await publish(link, "g", [Demand(modality="vision", queued_cost=1, num_held=1), Demand(modality="audio")])
    for _ in range(MAX_CHANGES + 10):
        cluster.counts["vision"] = 0
        await autoscaler.turn()
    assert len(autoscaler.decisions.changes) == MAX_CHANGES
