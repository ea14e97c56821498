"""Two autoscalers on one cluster: one acts, the other takes over, and no write of the wrong one counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from autoscaler.autoscaler import Autoscaler
from autoscaler.decisions import Decisions
from autoscaler.direct.deployments import Deployments
from autoscaler.direct.lease import Lease
from autoscaler.fleet import Fleet
from autoscaler.rules import FleetRules, Rules
from tests.redis_lab import RedisServer
from tests.unit.autoscaler.kube_lab import KubeLab
from trichord.demand import Demand, publish
from trichord.redis_link import RedisLink

LEASE_S = 60.0
"""Longer than any test waits: who leads here was given the lease, and no stall of the machine takes it away."""
SHORT_LEASE_S = 3.0
RULES = FleetRules(modalities={"vision": Rules(default_rate=10.0, max_replicas=20)})


class Instance:
    """One autoscaler process, as far as it matters."""

    def __init__(self, kube: KubeLab, link: RedisLink, name: str, lease_s: float) -> None:
        self.lease = Lease(kube.api(), "scaler", name, lease_s)
        self.deployments = Deployments(kube.api(), self.lease, "")
        self.autoscaler = Autoscaler(Fleet(RULES), link, self.deployments, Decisions())

    async def until_leading(self) -> None:
        async with asyncio.timeout(20):
            while not self.lease.remaining_s:  # noqa: ASYNC110 - another process, or a fake
                await asyncio.sleep(0.02)

    async def die(self) -> None:
        """Without a word: the lease is not given up."""
        self.deployments._renewing.cancel()
        await asyncio.gather(self.deployments._renewing, return_exceptions=True)


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_server.url, timeout_s=5.0)
    yield link
    await link.close()


@contextlib.asynccontextmanager
async def running(kube: KubeLab, link: RedisLink, name: str, lease_s: float = LEASE_S) -> AsyncIterator[Instance]:
    instance = Instance(kube, link, name, lease_s)
    try:
        yield instance
    finally:
        await instance.deployments.close()


async def demand(link: RedisLink, arriving: float) -> None:
    await publish(link, "g", [Demand(modality="vision", arrived_cost_per_s=arriving, num_ready_replicas=1)])


async def test_only_the_leader_scales_and_both_can_explain(kube: KubeLab, link: RedisLink) -> None:
    kube.add("vision-encoder", 4)
    await demand(link, 60.0)
    async with running(kube, link, "one") as one:
        await one.until_leading()
        async with running(kube, link, "other") as other:
            await other.autoscaler.turn()
            assert kube.writes == []
            assert "from 4 to" in other.autoscaler.decisions.of("vision").reason
            await one.autoscaler.turn()
            assert kube.writes == [("vision-encoder", 8)]


async def test_after_a_leaders_death_the_other_goes_on_where_it_was(kube: KubeLab, link: RedisLink) -> None:
    kube.add("vision-encoder", 4)
    async with running(kube, link, "one", SHORT_LEASE_S) as one:
        await one.until_leading()
        async with running(kube, link, "other", SHORT_LEASE_S) as other:
            await demand(link, 60.0)
            await other.autoscaler.turn()
            await one.die()
            await other.until_leading()
            assert one.lease.remaining_s == 0
            await one.autoscaler.turn()
            assert kube.writes == [], "the dead one's last decision is not written"
            await demand(link, 60.0)
            await other.autoscaler.turn()
            assert kube.writes == [("vision-encoder", 8)]


async def test_a_leader_that_leaves_hands_over_at_once(kube: KubeLab, link: RedisLink) -> None:
    kube.add("vision-encoder", 4)
    async with running(kube, link, "one") as one:
        await one.until_leading()
        identity = one.lease.identity
    assert kube.leases["scaler"]["spec"]["holderIdentity"] == ""
    async with running(kube, link, "other") as other:
        await other.until_leading()
        assert kube.leases["scaler"]["spec"]["holderIdentity"] == other.lease.identity != identity


async def test_a_restarted_leader_takes_nothing_away_at_once(kube: KubeLab, link: RedisLink) -> None:
    kube.add("vision-encoder", 6)
    await demand(link, 1.0)
    for _ in range(2):
        async with running(kube, link, "one") as one:
            await one.until_leading()
            for _ in range(3):
                await one.autoscaler.turn()
    assert (kube.writes, kube.replicas("vision-encoder")) == ([], 6)


async def test_two_that_both_believe_to_lead_write_once(kube: KubeLab, link: RedisLink) -> None:
    """Whatever went wrong with the lease, the version that each has read lets only one of two writes through."""
    kube.add("vision-encoder", 4)
    await demand(link, 60.0)
    async with running(kube, link, "one") as one:
        await one.until_leading()  # before there is another that could
        async with running(kube, link, "other") as other:
            other.lease._held_until_s = float("inf")
            other.deployments._renewing.cancel()
            await asyncio.gather(one.autoscaler.turn(), other.autoscaler.turn())
            other.lease._held_until_s = 0.0
    assert kube.writes == [("vision-encoder", 8)]
