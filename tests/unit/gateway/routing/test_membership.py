"""Replicas that come, go and change their health, on real servers; the resolver is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from gateway.routing import discovery
from tests.unit.gateway.fakes import FakeVision, forever
from tests.unit.gateway.routing.lab import NAME, SOON_S, Fleet, Names, encode, fleet, replica, until, vision_pool
from trichord.errors import DeadlineError, SettingsError, UnavailableError


@pytest.fixture(autouse=True)
def looked_up_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "MIN_PAUSE_S", 0.01)


@pytest.fixture
async def two() -> AsyncIterator[Fleet[FakeVision]]:
    async with fleet(FakeVision, 2) as running:
        yield running


async def test_the_first_call_waits_for_the_name_to_be_resolved(two: Fleet[FakeVision]) -> None:
    async with vision_pool(NAME, Names(*two.addresses)) as pool:
        assert pool.snapshot() == []
        await encode(pool)
        assert {one.address for one in pool.snapshot()} == set(two.addresses)


async def test_a_name_without_replicas_is_unavailable_with_a_time() -> None:
    async with vision_pool(NAME, Names()) as pool:
        with pytest.raises(UnavailableError, match="No replica of the vision encoder") as caught:
            await encode(pool)
        assert caught.value.retry_after_s


async def test_a_service_is_deserted_only_if_nobody_is_found_and_nobody_left_can_be_reached(
    two: Fleet[FakeVision],
) -> None:
    names = Names(two.addresses[0])
    async with vision_pool(NAME, names, resolve_interval_s=0.01) as pool:
        await pool.known()
        await until(lambda: pool.is_heard)
        assert not pool.is_deserted
        names.addresses = ()
        asked = names.num_asked
        await until(lambda: names.num_asked > asked + 2)
        assert not pool.is_deserted, "it cannot be found, and it is there"
        await two.stop(0)
        await until(lambda: pool.is_deserted)
        assert not pool.is_heard
        names.addresses = (two.addresses[1],)
        await until(lambda: pool.is_heard)
        assert not pool.is_deserted


async def test_replicas_that_are_written_out_are_never_deserted(two: Fleet[FakeVision]) -> None:
    async with vision_pool(two.addresses[0]) as pool:
        await two.stop(0)
        await until(lambda: replica(pool, two.addresses[0]).health == "unreachable")
        assert not pool.is_deserted


async def test_new_replicas_get_calls_and_old_ones_end_theirs(two: Fleet[FakeVision]) -> None:
    names = Names(two.addresses[0])
    finish = asyncio.Event()

    async def until_told(content: bytes) -> None:
        await finish.wait()

    two.fakes[0].step = until_told
    async with vision_pool(NAME, names, resolve_interval_s=0.01) as pool:
        old = asyncio.create_task(encode(pool))
        assert await two.entered() == 0
        names.addresses = [two.addresses[1]]
        await until(lambda: [one.is_leaving for one in pool.snapshot()] == [False, True])
        await encode(pool)
        assert two.num_requests == [1, 1]
        assert replica(pool, two.addresses[0]).num_calls == 1
        finish.set()
        await old
        await until(lambda: [one.address for one in pool.snapshot()] == [two.addresses[1]])


async def test_a_replica_that_left_is_closed_in_time_whatever_it_has(two: Fleet[FakeVision]) -> None:
    names = Names(two.addresses[0])
    two.fakes[0].step = forever
    async with vision_pool(NAME, names, resolve_interval_s=0.01, drain_s=0.05) as pool:
        old = asyncio.create_task(encode(pool))
        await two.entered()
        names.addresses = [two.addresses[1]]
        await until(lambda: len(pool.snapshot()) == 1 and pool.snapshot()[0].address == two.addresses[1])
        await asyncio.wait_for(two.fakes[0].calls.cancelled.wait(), SOON_S)
        await asyncio.wait([old], timeout=SOON_S)
        assert old.done()
        await asyncio.gather(old, return_exceptions=True)


async def test_a_failure_has_the_name_looked_up_at_once(two: Fleet[FakeVision]) -> None:
    """A pod was replaced: its address is dead, and the next answer has the new one."""
    names = Names(two.addresses[0])
    async with vision_pool(NAME, names, resolve_interval_s=3600) as pool:
        await encode(pool)
        await two.stop(0)
        names.addresses = [two.addresses[1]]
        await encode(pool)
        await until(lambda: [one.address for one in pool.snapshot() if not one.is_leaving] == [two.addresses[1]])
        assert two.num_requests == [1, 1]


async def test_a_name_that_is_gone_for_a_moment_changes_nothing(two: Fleet[FakeVision]) -> None:
    names = Names(*two.addresses)
    async with vision_pool(NAME, names, resolve_interval_s=0.01) as pool:
        await encode(pool)
        names.addresses = []
        asked = names.num_asked
        await until(lambda: names.num_asked > asked + 2)
        await encode(pool)
        assert len(pool.snapshot()) == 2


async def test_a_replica_that_restarts_is_seen_again(two: Fleet[FakeVision]) -> None:
    await two.say(0, serving=True)
    async with vision_pool(two.addresses[0]) as pool:
        await until(lambda: pool.snapshot()[0].health == "serving")
        await two.stop(0)
        await until(lambda: pool.snapshot()[0].health == "unreachable")
        await two.restart(0)
        await two.say(0, serving=True)
        await until(lambda: pool.snapshot()[0].health == "serving")
        await encode(pool)


async def test_a_server_without_health_checks_is_taken_to_be_well() -> None:
    bare = grpc.aio.server()
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    async with vision_pool(f"127.0.0.1:{port}") as pool:
        await until(lambda: pool.snapshot()[0].health == "serving")
        assert pool.num_usable() == 1
    await bare.stop(0)


async def test_a_closed_pool_leaves_no_task_behind(two: Fleet[FakeVision]) -> None:
    before = asyncio.all_tasks()
    async with vision_pool(NAME, Names(*two.addresses)) as pool:
        await encode(pool)
        names = {task.get_name() for task in asyncio.all_tasks() - before}
        assert {"resolve vision.test", *(f"watch {address}" for address in two.addresses)} <= names
    names = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not any(name.startswith(("resolve", "watch", "drain")) for name in names)


async def test_a_closed_pool_takes_no_calls_and_ends_those_it_has(two: Fleet[FakeVision]) -> None:
    two.fakes[0].step = two.fakes[1].step = forever
    async with vision_pool(two.target) as pool:
        last = asyncio.create_task(encode(pool))
        busy = await two.entered()
    await asyncio.wait_for(two.fakes[busy].calls.cancelled.wait(), SOON_S)
    ended = (await asyncio.gather(last, return_exceptions=True))[0]
    assert isinstance(ended, UnavailableError | asyncio.CancelledError)
    with pytest.raises(UnavailableError, match="No replica"):
        await encode(pool)


async def test_a_name_that_takes_too_long_to_resolve_ends_at_the_deadline() -> None:
    async def hang(name: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with vision_pool(NAME, hang) as pool:
        with pytest.raises(DeadlineError):
            await encode(pool, timeout_s=0.05)


async def test_a_target_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="is no target"):
        async with vision_pool("nowhere"):
            pass
