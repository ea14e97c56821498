"""What is read ahead is bounded, in order, and ends as its source ends."""

import asyncio
import contextlib

import pytest

from llm_decoder.delivery import delivered


class Source:
    """An engine that rests when it is told to."""

    def __init__(self, count, error=None):
        self.count, self.error = count, error
        self.given = 0
        self.going = asyncio.Event()
        self.going.set()
        self.told = []
        self.closed = False

    async def outputs(self):
        try:
            for number in range(self.count):
                await self.going.wait()
                await asyncio.sleep(0)
                self.given += 1
                yield number
            if self.error:
                raise self.error
        finally:
            self.closed = True

    def rest(self, is_full):
        if not self.told or is_full != self.told[-1]:
            self.told.append(is_full)
        if is_full:
            self.going.clear()
        else:
            self.going.set()


def one(output):
    return 1


async def test_everything_arrives_in_order():
    source = Source(50)
    assert [output async for output in delivered(source.outputs(), source.rest, one, 8)] == list(range(50))


async def test_a_stalled_reader_makes_the_source_rest_and_go_on_later():
    source = Source(100)
    read = delivered(source.outputs(), source.rest, one, 8)
    assert await anext(read) == 0
    for _ in range(500):
        await asyncio.sleep(0)
    assert source.given <= 10
    assert source.told[-1] is True

    assert [output async for output in read] == list(range(1, 100))
    assert source.told[-1] is False


async def test_tokens_count_and_not_the_outputs_that_hold_them():
    source = Source(100)
    read = delivered(source.outputs(), source.rest, lambda output: 5, 20)
    await anext(read)
    for _ in range(500):
        await asyncio.sleep(0)
    assert source.given <= 5
    assert source.told[-1] is True
    assert [output async for output in read] == list(range(1, 100))


async def test_an_error_comes_after_what_was_before_it():
    source = Source(3, ValueError("lost"))
    seen = []

    async def read():
        async for output in delivered(source.outputs(), source.rest, one, 8):
            seen.append(output)

    with pytest.raises(ValueError, match="lost"):
        await read()
    assert seen == [0, 1, 2]


async def test_leaving_closes_the_source():
    source = Source(1000)
    outputs = source.outputs()
    async with contextlib.aclosing(outputs), contextlib.aclosing(delivered(outputs, source.rest, one, 8)) as read:
        assert await anext(read) == 0
    assert source.closed
