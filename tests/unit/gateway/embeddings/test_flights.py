"""Flights: one piece of work for all who wait, until nobody does."""

from __future__ import annotations

import asyncio

import pytest

from gateway.embeddings.flights import Flights, Landed


class Work:
    """Ends when told to; counts how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = 0, 0
        self.end = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return number


async def joined(flights: Flights[int], work: Work, number: int, key: bytes = b"k") -> list[asyncio.Task[Landed[int]]]:
    tasks = [asyncio.create_task(flights.join(key, work)) for _ in range(number)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_all_get_the_result_of_one() -> None:
    flights, work = Flights[int](), Work()
    tasks = await joined(flights, work, 10)
    work.end.set()
    landed = await asyncio.gather(*tasks)
    assert work.begun == 1
    assert [one.result for one in landed] == [1] * 10
    assert [one.led for one in landed] == [True] + [False] * 9
    assert not flights.under_way(b"k")


async def test_another_key_is_other_work_and_so_is_a_later_time() -> None:
    flights, work = Flights[int](), Work()
    one, other = await joined(flights, work, 1, b"one") + await joined(flights, work, 1, b"other")
    work.end.set()
    await asyncio.gather(one, other)
    assert (await flights.join(b"one", work)).result == work.begun == 3


async def test_all_get_the_error_of_one() -> None:
    flights, work = Flights[int](), Work()
    tasks = await joined(flights, work, 3)
    work.error = ValueError("x")
    work.end.set()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [work.error] * 3


@pytest.mark.parametrize("who", [0, 1], ids=["the leader", "a follower"])
async def test_who_is_cancelled_cancels_nobody_else(who: int) -> None:
    flights, work = Flights[int](), Work()
    tasks = await joined(flights, work, 3)
    tasks[who].cancel()
    await asyncio.gather(tasks[who], return_exceptions=True)
    work.end.set()
    landed = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(landed.pop(who), asyncio.CancelledError)
    assert [one.result for one in landed if not isinstance(one, BaseException)] == [1, 1]
    assert work.cancelled == 0


async def test_the_last_to_leave_cancels_the_work_and_a_newcomer_begins_anew() -> None:
    flights, work = Flights[int](), Work()
    tasks = await joined(flights, work, 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not flights.under_way(b"k")
    (newcomer,) = await joined(flights, work, 1)
    work.end.set()
    assert (await newcomer).result == work.begun == 2
    assert work.cancelled == 1


async def test_work_that_fails_while_it_is_cancelled_troubles_nobody() -> None:
    flights = Flights[int]()

    async def work() -> int:
        try:
            return await asyncio.Event().wait()
        finally:
            raise ValueError("x")

    task = asyncio.create_task(flights.join(b"k", work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert not flights.under_way(b"k")
