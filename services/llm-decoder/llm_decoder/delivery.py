"""Between the engine and one reader: what is undelivered is bounded, by letting the sequences rest.

gRPC itself takes thousands of small messages from a sender before it makes it wait, so nothing else would stop an
engine from running far ahead of a reader that has stalled. Knows nothing of what the outputs are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

Output = TypeVar("Output")

MAX_UNDELIVERED = 128
"""Outputs that may wait for a reader before the engine is told to let the sequences rest."""


async def delivered(
    outputs: AsyncIterator[Output], rest: Callable[[bool], Awaitable[None]], max_undelivered: int = MAX_UNDELIVERED
) -> AsyncGenerator[Output, None]:
    """The outputs, in order, read ahead of the reader.

    ``rest(True)`` is called when ``max_undelivered`` wait, ``rest(False)`` when half of them are delivered. Raises what
    ``outputs`` raises, after everything before it.
    """
    waiting: asyncio.Queue[Output | None] = asyncio.Queue()
    resting = False

    async def pump() -> None:
        nonlocal resting
        try:
            async for output in outputs:
                waiting.put_nowait(output)
                if waiting.qsize() >= max_undelivered and not resting:
                    resting = True
                    await rest(True)
        finally:
            waiting.put_nowait(None)

    pumping = asyncio.create_task(pump(), name="pump")
    try:
        while (output := await waiting.get()) is not None:
            yield output
            if resting and waiting.qsize() <= max_undelivered // 2:
                resting = False
                await rest(False)
        await pumping
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
