"""The engine hears the latest wishes in the end, whatever fails on the way."""

import asyncio

import pytest

from llm_decoder.steering import Steering, Wishes
from trichord.errors import DeadlineError, OverloadedError


class Engine:
    """Hears wishes; fails as often as it is told to."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.heard = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.num_calls = 0

    async def tell(self, wishes):
        self.num_calls += 1
        await self.may_answer.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.heard.append(wishes)

    def steering(self):
        return Steering(self.tell, retry_s=0)


async def test_what_is_not_changed_is_not_told(until):
    engine = Engine()
    async with engine.steering() as steering:
        steering.rest(False)
        steering.rest(True)
        await until(lambda: engine.heard)
        steering.rest(True)
        for _ in range(20):
            await asyncio.sleep(0)
    assert engine.heard == [Wishes(is_full=True)]


async def test_wishes_are_told_whole(until):
    engine = Engine()
    async with engine.steering() as steering:
        for number, wish in enumerate((lambda: steering.end(2), lambda: steering.rest(True), lambda: steering.end(0))):
            wish()
            await until(lambda number=number: len(engine.heard) > number)
    assert engine.heard == [
        Wishes(False, frozenset({2})),
        Wishes(True, frozenset({2})),
        Wishes(True, frozenset({0, 2})),
    ]


@pytest.mark.parametrize("failure", [OverloadedError("busy"), DeadlineError("late"), RuntimeError("broken")])
async def test_a_failed_call_is_made_again(until, failure):
    engine = Engine(failure, failure)
    async with engine.steering() as steering:
        steering.rest(True)
        await until(lambda: engine.heard)
    assert engine.heard == [Wishes(is_full=True)]
    assert engine.num_calls == 3


async def test_a_call_that_failed_may_have_arrived(until):
    engine = Engine(DeadlineError("late"))
    engine.may_answer.clear()
    async with engine.steering() as steering:
        steering.rest(True)
        await until(lambda: engine.num_calls)
        steering.rest(False)
        engine.may_answer.set()
        await until(lambda: engine.heard)
    assert engine.heard == [Wishes(is_full=False)], "told, though nothing else was ever told to have arrived"


async def test_one_call_at_a_time_and_the_last_wish_wins(until):
    engine = Engine()
    engine.may_answer.clear()
    async with engine.steering() as steering:
        steering.rest(True)
        await until(lambda: engine.num_calls)
        for is_full in (False, True, False):
            steering.rest(is_full)
            await asyncio.sleep(0)
        assert engine.num_calls == 1
        engine.may_answer.set()
        await until(lambda: len(engine.heard) == 2)
    assert engine.heard == [Wishes(is_full=True), Wishes(is_full=False)]


async def test_leaving_cancels_a_call_in_progress(until):
    engine = Engine()
    engine.may_answer.clear()
    async with engine.steering() as steering:
        steering.end(0)
        await until(lambda: engine.num_calls)
    engine.may_answer.set()
    await asyncio.sleep(0)
    assert engine.heard == []
