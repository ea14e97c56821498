"""Demands from gateways to the autoscaler: through a real Redis, whole, fresh, and never believed when broken."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import notices
from tests.redis_lab import RedisServer
from trichord import demand as demands
from trichord.demand import Demand, decode, encode, merge, publish, read_all, wake
from trichord.redis_link import RedisAwayError, RedisLink

amounts = st.floats(0, 1e15)
some_demand = st.builds(
    Demand,
    modality=st.sampled_from(demands.MODALITIES),
    queued_cost=amounts,
    running_cost=amounts,
    arrived_cost_per_s=amounts,
    served_cost_per_s_per_replica=st.none() | amounts,
    queue_p95_ms=amounts,
    kv_use=st.floats(0, 1),
    num_held=st.integers(0, 1_000_000),
    num_ready_replicas=st.integers(0, 1_000_000),
    at_s=amounts,
)


@pytest.fixture
async def link(redis_server: RedisServer):
    link = RedisLink(redis_server.url, timeout_s=5.0)
    yield link
    await link.close()


@given(st.lists(some_demand, max_size=5))
def test_what_is_encoded_comes_back(told: list[Demand]) -> None:
    report = encode(told)
    assert decode(report) == tuple(told)
    assert len(report) <= demands.MAX_REPORT_BYTES


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_anything_else_is_nothing(noise: bytes) -> None:
    assert decode(noise) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"demands": [{"modality": "video"}]},
        {"demands": [{"modality": "vision", "queued_cost": -1}]},
        {"demands": [{"modality": "vision", "queued_cost": 1e300}]},
        {"demands": [{"modality": "vision", "kv_use": 1.5}]},
        {"demands": [{"modality": "vision"}] * 6},
        {"demands": [{"modality": "vision", "num_held": 0.5}]},
        {"more": "x" * demands.MAX_REPORT_BYTES},
    ],
)
def test_a_report_that_is_out_of_bounds_is_nothing(change: dict[str, object]) -> None:
    good = {"version": 1, "demands": [{"modality": "vision", "queued_cost": 3}]}
    assert len(decode(json.dumps(good).encode())) == 1
    assert decode(json.dumps(good | change).encode()) == ()


def test_not_a_number_is_nothing() -> None:
    assert decode(b'{"version":1,"demands":[{"modality":"vision","queued_cost":NaN}]}') == ()
    assert decode(b'{"version":1,"demands":[{"modality":"vision","queued_cost":Infinity}]}') == ()


def test_a_newer_gateways_further_fields_are_passed_over() -> None:
    [told] = decode(b'{"version":1,"demands":[{"modality":"vision","queued_cost":3,"mood":"good"}]}')
    assert told == Demand(modality="vision", queued_cost=3)


def test_gateways_add_up() -> None:
    one = Demand(
        modality="vision",
        queued_cost=3,
        running_cost=1,
        arrived_cost_per_s=30,
        served_cost_per_s_per_replica=10,
        queue_p95_ms=5,
        num_held=1,
        num_ready_replicas=2,
        at_s=7,
    )
    other = one.model_copy(
        update={"served_cost_per_s_per_replica": 20, "arrived_cost_per_s": 10, "queue_p95_ms": 9, "at_s": 6}
    )
    idle = Demand(modality="vision", num_ready_replicas=3, at_s=8)
    merged = merge([one, other, idle, Demand(modality="audio")])
    assert set(merged) == {"vision", "audio"}
    assert merged["vision"] == Demand(
        modality="vision",
        queued_cost=6,
        running_cost=2,
        arrived_cost_per_s=40,
        served_cost_per_s_per_replica=12.5,
        queue_p95_ms=9,
        num_held=2,
        num_ready_replicas=3,
        at_s=8,
    )


def test_a_queue_that_all_see_is_counted_once() -> None:
    """Each tells of it as of its own last look; only the one that keeps the jobs knows how old they are."""
    keeping = Demand(modality="worker", queued_cost=900, queue_p95_ms=60_000, num_ready_replicas=1, at_s=7)
    other = Demand(modality="worker", queued_cost=512, num_ready_replicas=2, at_s=8)
    assert merge([keeping, other])["worker"] == keeping.model_copy(update={"num_ready_replicas": 2, "at_s": 8})


@given(st.lists(some_demand, min_size=1, max_size=6), st.randoms())
def test_the_order_of_gateways_does_not_matter(told: list[Demand], random) -> None:
    shuffled = list(told)
    random.shuffle(shuffled)
    assert {name: demand.num_held for name, demand in merge(told).items()} == {
        name: demand.num_held for name, demand in merge(shuffled).items()
    }
    for modality, demand in merge(told).items():
        seen = [one for one in told if one.modality == modality]
        rates = [one.served_cost_per_s_per_replica for one in seen if one.served_cost_per_s_per_replica is not None]
        rate = demand.served_cost_per_s_per_replica
        assert (rate is None) == (not rates)
        assert rate is None or min(rates) * (1 - 1e-9) <= rate <= max(rates) * (1 + 1e-9)


async def test_it_comes_through_redis_on_the_readers_clock(link: RedisLink) -> None:
    await publish(link, "a", [Demand(modality="vision", queued_cost=3, at_s=1e9)])
    await publish(link, "b", [Demand(modality="vision", queued_cost=4), Demand(modality="audio")])
    await publish(link, "b", [Demand(modality="vision", queued_cost=5)])
    told = await read_all(link, 5000.0)
    assert sorted(demand.queued_cost for demand in told) == [3, 5]
    assert all(4990 < demand.at_s <= 5000 for demand in told)


async def test_a_silent_gateway_is_forgotten(
    link: RedisLink, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(link, "alive", [Demand(modality="audio")])
    told_ms = int(time.time() * 1000) - demands.TTL_MS - 1
    with redis_server.client() as client:
        client.hset("trichord:demand", "dead", f"{told_ms} {encode([Demand(modality='vision')]).decode()}")
    assert [demand.modality for demand in await read_all(link, 0.0)] == ["audio"]
    monkeypatch.setattr(demands, "TTL_MS", 600_000)
    assert [demand.modality for demand in await read_all(link, 0.0)] == ["audio"], "it is removed"


async def test_the_key_goes_when_no_gateway_is_left(link: RedisLink, redis_server: RedisServer) -> None:
    await publish(link, "a", [Demand(modality="vision")])
    with redis_server.client() as client:
        assert 0 < client.pttl("trichord:demand") <= demands.TTL_MS


async def test_rubbish_in_redis_is_passed_over(link: RedisLink, redis_server: RedisServer) -> None:
    await publish(link, "a", [Demand(modality="vision", queued_cost=3)])
    with redis_server.client() as client:
        client.hset("trichord:demand", "b", b"rubbish")
        client.hset("trichord:demand", "c", f"{int(time.time() * 1000)} [1]".encode())
    assert [demand.queued_cost for demand in await read_all(link, 0.0)] == [3]


async def test_without_gateways_there_is_nothing(link: RedisLink) -> None:
    assert await read_all(link, 0.0) == ()


async def test_a_redis_that_is_away_is_an_error() -> None:
    link = RedisLink("redis://127.0.0.1:1")
    with pytest.raises(RedisAwayError):
        await read_all(link, 0.0)
    await link.close()


@pytest.fixture
async def heard(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch):
    """Modalities of which a listener heard, once it listens."""
    monkeypatch.setattr(notices, "RECONNECT_S", 0.01)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = asyncio.create_task(notices.listen(redis_server.url, heard.put_nowait))
    await until_listening(redis_server, 1)
    yield heard
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await until_listening(redis_server, 0)  # the next test's listener is not to be mistaken for this one


async def until_listening(redis_server: RedisServer, num_listeners: int) -> None:
    async with asyncio.timeout(20):
        with redis_server.client() as client:
            while client.pubsub_numsub(demands.WAKE_CHANNEL)[0][1] != num_listeners:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)


async def test_a_notice_is_heard(link: RedisLink, heard: asyncio.Queue[str]) -> None:
    await wake(link, "vision")
    assert await asyncio.wait_for(heard.get(), 20) == "vision"
    assert heard.empty()


async def test_a_notice_of_nothing_known_is_passed_over(
    link: RedisLink, heard: asyncio.Queue[str], redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        for noise in (b"video", b"", b"\xff"):
            client.publish(demands.WAKE_CHANNEL, noise)
    await wake(link, "audio")
    assert await asyncio.wait_for(heard.get(), 20) == "audio"


async def test_a_listener_comes_back_after_its_connection_was_cut(
    link: RedisLink, heard: asyncio.Queue[str], redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    async with asyncio.timeout(20):
        while heard.empty():  # what is told before it listens again is lost, as it may be
            await wake(link, "audio")
            await asyncio.sleep(0.01)
    assert heard.get_nowait() == "audio"
