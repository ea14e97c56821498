"""What was told recently is used at once, asked for anew when it is older, and not believed for ever."""

from __future__ import annotations

import asyncio

import pytest

from gateway.recent import FRESH_S, STALE_S, Recent
from trichord.errors import UnavailableError


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Source:
    def __init__(self) -> None:
        self.num_asked = 0
        self.is_away = False

    async def __call__(self, timeout_s: float) -> int:
        self.num_asked += 1
        if self.is_away:
            raise UnavailableError("It is away.")
        return self.num_asked


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_is_asked_once_while_the_answer_is_fresh() -> None:
    clock, source = Clock(), Source()
    recent = Recent(source, clock)
    assert [await recent.get(1), await recent.get(1)] == [1, 1]
    clock.now_s = FRESH_S + 1
    assert await recent.get(1) == 1, "nobody waits for the newer answer"
    await settled()
    assert await recent.get(1) == 2
    assert source.num_asked == 2


async def test_while_it_is_away_the_last_answer_holds_until_it_is_too_old() -> None:
    clock, source = Clock(), Source()
    recent = Recent(source, clock)
    await recent.get(1)
    source.is_away = True
    clock.now_s = FRESH_S + 1
    assert await recent.get(1) == 1
    await settled()
    assert await recent.get(1) == 1
    clock.now_s = STALE_S + 1
    with pytest.raises(UnavailableError):
        await recent.get(1)


async def test_a_first_answer_that_fails_is_told() -> None:
    source = Source()
    source.is_away = True
    recent = Recent(source)
    with pytest.raises(UnavailableError):
        await recent.get(1)
    source.is_away = False
    assert await recent.get(1) == 2
