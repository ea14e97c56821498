"""What is told of a name as its answers change; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.routing import discovery
from gateway.routing.discovery import Discovery
from gateway.routing.target import parse
from tests.unit.gateway.routing.lab import NAME, SOON_S, Names, settings, until


class Watched:
    """A discovery, with what it told."""

    def __init__(self, resolve: Names, **fields: float) -> None:
        self.now_s = 0.0
        self.told: list[Sequence[str]] = []
        self.resolve = resolve
        routing = settings(stale_s=60, **fields)
        self.discovery = Discovery(parse(NAME), resolve, self.told.append, routing, clock=lambda: self.now_s)

    async def look_up(self, *addresses: str, after_s: float = 10.0) -> None:
        self.now_s += after_s
        self.resolve.addresses = addresses
        await self.discovery.look_up()


async def test_only_changes_are_told() -> None:
    watched = Watched(Names())
    await watched.look_up("a:1", "b:1")
    await watched.look_up("b:1", "a:1", "a:1")
    await watched.look_up("b:1")
    assert watched.told == [["a:1", "b:1"], ["b:1"]]


async def test_the_last_replicas_are_kept_for_a_time_when_the_name_is_gone() -> None:
    watched = Watched(Names())
    await watched.look_up("a:1")
    await watched.look_up(after_s=59)
    assert watched.told == [["a:1"]]
    await watched.look_up(after_s=1)
    assert watched.told == [["a:1"], []]
    await watched.look_up("a:1")
    assert watched.told[-1] == ["a:1"]


async def test_an_answer_that_there_is_nobody_is_believed_at_once() -> None:
    async def answers(name: str, port: int) -> Sequence[str]:
        return names

    names = ["a:1"]
    told: list[Sequence[str]] = []
    watched = Discovery(parse(NAME), answers, told.append, settings())
    await watched.look_up()
    assert not watched.finds_nobody
    names.clear()
    await watched.look_up()
    assert told == [["a:1"], []]
    assert watched.finds_nobody


async def test_a_good_answer_in_between_begins_the_time_anew() -> None:
    watched = Watched(Names())
    await watched.look_up("a:1")
    await watched.look_up(after_s=50)
    await watched.look_up("a:1", after_s=5)
    await watched.look_up(after_s=50)
    assert watched.told == [["a:1"]]


async def test_a_resolver_that_hangs_is_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "LOOK_UP_TIMEOUT_S", 0.01)

    async def hang(name: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    watched = Discovery(parse(NAME), hang, lambda addresses: None, settings())
    await asyncio.wait_for(watched.look_up(), SOON_S)
    assert watched.looked_up.is_set()


async def test_a_name_is_looked_up_again_and_again_and_at_once_when_it_is_doubted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "MIN_PAUSE_S", 0.01)
    asked = Names("a:1")
    often = Discovery(parse(NAME), asked, lambda addresses: None, settings(resolve_interval_s=0.01))
    seldom_asked = Names("a:1")
    seldom = Discovery(parse(NAME), seldom_asked, lambda addresses: None, settings(resolve_interval_s=3600))
    following = [asyncio.create_task(one.follow()) for one in (often, seldom)]
    async with asyncio.timeout(SOON_S):
        await seldom.looked_up.wait()
        await until(lambda: asked.num_asked >= 4)
        assert seldom_asked.num_asked == 1
        seldom.doubt()
        await until(lambda: seldom_asked.num_asked == 2)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
