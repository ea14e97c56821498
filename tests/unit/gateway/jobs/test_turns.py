from __future__ import annotations

from pathlib import Path

import pytest

from gateway.jobs.turns import LEASE_S, Turn
from tests.unit.gateway.jobs.jobs_lab import Clock
from trichord.jobs.objects import ObjectStore, open_store

KEY = "turns/x"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path))


async def test_one_at_a_time(store: ObjectStore) -> None:
    clock = Clock()
    first, second = Turn(store, clock, "x"), Turn(store, clock, "x")
    assert await first.is_mine()
    assert not await second.is_mine()
    for _ in range(10):
        clock.move(LEASE_S / 3)
        assert await first.is_mine()
        assert not await second.is_mine()


async def test_each_work_has_turns_of_its_own(store: ObjectStore) -> None:
    clock = Clock()
    assert await Turn(store, clock, "x").is_mine()
    assert await Turn(store, clock, "y").is_mine()


async def test_who_is_gone_is_followed(store: ObjectStore) -> None:
    clock = Clock()
    first, second = Turn(store, clock, "x"), Turn(store, clock, "x")
    await first.is_mine()
    clock.move(LEASE_S + 1)
    assert await second.is_mine()
    assert not await first.is_mine()


async def test_a_turn_is_handed_over(store: ObjectStore) -> None:
    clock = Clock()
    first, second = Turn(store, clock, "x"), Turn(store, clock, "x")
    await second.end()  # it has none to hand over
    await first.is_mine()
    await second.end()
    assert not await second.is_mine()
    await first.end()
    assert await second.is_mine()
    await first.end()
    assert not await first.is_mine()


@pytest.mark.parametrize("lease", [b"", b"{", b"[]", b"{}", b'{"name": "x", "until_s": "soon"}', b'{"until_s": 1e12}'])
async def test_what_is_no_lease_stops_nobody(store: ObjectStore, lease: bytes) -> None:
    await store.put(KEY, lease)
    assert await Turn(store, Clock(), "x").is_mine()
