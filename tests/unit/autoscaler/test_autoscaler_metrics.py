"""What the autoscaler tells of its decisions, scraped; the loop over a real Redis is test_autoscaler.py's."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from autoscaler import metrics, opening
from autoscaler.autoscaler import Autoscaler
from autoscaler.decisions import Decisions
from autoscaler.direct import opening as direct_opening
from autoscaler.fleet import Fleet
from autoscaler.settings import AutoscalerSettings
from tests.metrics_lab import Page
from tests.redis_lab import RedisServer
from tests.unit.autoscaler.test_autoscaler import RULES, Clock, Cluster
from trichord.demand import Demand, publish
from trichord.redis_link import RedisLink

PREFIX = "trichord_autoscaler"


@pytest.fixture
def told(page_url: str) -> Page:
    return Page(page_url)


@pytest.fixture
async def link(redis_server: RedisServer) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_server.url, timeout_s=5.0)
    yield link
    await link.close()


async def test_a_round_of_decisions_is_told(link: RedisLink, told: Page) -> None:
    cluster = Cluster()
    autoscaler = Autoscaler(Fleet(RULES), link, cluster, Decisions(), Clock())
    vision = Demand(modality="vision", queued_cost=25, num_held=2, served_cost_per_s_per_replica=40)
    await publish(link, "g", [vision])
    await autoscaler.turn()
    assert cluster.scaled == [("vision", 1)]
    assert told.value(f"{PREFIX}_desired_replicas", modality="vision") == 1
    assert told.value(f"{PREFIX}_replicas", modality="vision") == 0
    assert told.value(f"{PREFIX}_queued_cost", modality="vision") == 25
    assert told.value(f"{PREFIX}_service_rate", modality="vision") == 40
    assert told.value(f"{PREFIX}_replicas", modality="audio") == 2
    assert math.isnan(told.value(f"{PREFIX}_queued_cost", modality="audio")), "no gateway told of it"
    assert told.gained(f"{PREFIX}_decisions_total", modality="vision", direction="up") == 1
    assert told.gained(f"{PREFIX}_decisions_total", modality="audio", direction="hold") == 1
    await autoscaler.turn()
    assert told.gained(f"{PREFIX}_decisions_total", modality="vision", direction="up") == 1
    assert told.gained(f"{PREFIX}_decisions_total", modality="vision", direction="hold") == 1


async def test_fewer_is_down(told: Page, link: RedisLink) -> None:
    autoscaler = Autoscaler(Fleet(RULES), link, Cluster(), Decisions(), clock := Clock())
    for _ in range(2):
        await publish(link, "g", [Demand(modality="audio")])
        await autoscaler.turn()
        clock.now_s += 100_000.0
    assert told.gained(f"{PREFIX}_decisions_total", modality="audio", direction="down") == 1


async def test_who_needs_no_lease_leads(told: Page) -> None:
    metrics.leads_while(lambda: False)
    assert told.value(f"{PREFIX}_is_leading") == 0
    actuator = opening.actuator(AutoscalerSettings(mode="keda", state_url="redis://unused"))
    assert told.value(f"{PREFIX}_is_leading") == 1
    await actuator.close()


async def test_leading_is_told_as_long_as_the_lease_is_held(told: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = SimpleNamespace(remaining_s=5.0)
    monkeypatch.setattr(direct_opening, "connect", lambda namespace: None)
    monkeypatch.setattr(direct_opening, "Lease", lambda *arguments: lease)
    monkeypatch.setattr(direct_opening, "Deployments", lambda *arguments: None)
    opening.actuator(AutoscalerSettings(mode="kubernetes", state_url="redis://unused"))
    assert told.value(f"{PREFIX}_is_leading") == 1
    lease.remaining_s = 0.0
    assert told.value(f"{PREFIX}_is_leading") == 0
