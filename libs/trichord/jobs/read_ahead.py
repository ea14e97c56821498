"""Several slow reads at a time, their results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

READ_AHEAD = 16
"""Reads at a time: what hides the time that a far store takes, and holds but a few results in memory."""


async def read_ahead(reads: Iterable[Coroutine[Any, Any, T]]) -> AsyncIterator[T]:
    """What each of ``reads`` returns, in their order; the first error is raised, and the rest is cancelled.

    ``reads`` is taken from as there is room: a generator makes coroutines only when they are begun.
    """
    begun: deque[asyncio.Task[T]] = deque()
    try:
        for read in reads:
            begun.append(asyncio.create_task(read, name="read ahead"))
            if len(begun) == READ_AHEAD:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
