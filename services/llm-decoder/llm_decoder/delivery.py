"""Between the engine and one reader: what is undelivered is bounded, by letting the sequences rest.

gRPC takes what the HTTP/2 window of the next hop holds before it makes a sender wait. The reader sets that window:
4 KiB where it is our own gateway (``trichord.server.SLOW_READER_OPTIONS``); by default 64 KiB, which lets 96 through,
and megabytes where tokens once came fast enough for gRPC's bandwidth probe. No option of the sender changes it.
Knows nothing of what the outputs are but how many tokens they hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

Output = TypeVar("Output")

MAX_UNDELIVERED_TOKENS = 128
"""Tokens that may wait for a reader before the engine is told to let the sequences rest."""


async def delivered(
    outputs: AsyncIterator[Output],
    rest: Callable[[bool], None],
    num_tokens: Callable[[Output], int],
    max_undelivered: int = MAX_UNDELIVERED_TOKENS,
) -> AsyncGenerator[Output, None]:
    """The outputs, in order, read ahead of the reader.

    ``rest(True)`` is called while ``max_undelivered`` tokens or more wait, ``rest(False)`` while at most half of that
    do. Raises what ``outputs`` raises, after everything before it.
    """
    waiting: asyncio.Queue[Output | None] = asyncio.Queue()
    num_waiting = 0

    async def pump() -> None:
        nonlocal num_waiting
        try:
            async for output in outputs:
                waiting.put_nowait(output)
                num_waiting += num_tokens(output)
                if num_waiting >= max_undelivered:
                    rest(True)
        finally:
            waiting.put_nowait(None)

    pumping = asyncio.create_task(pump(), name="pump")
    try:
        while (output := await waiting.get()) is not None:
            yield output
            num_waiting -= num_tokens(output)
            if num_waiting <= max_undelivered // 2:
                rest(False)
        await pumping
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
