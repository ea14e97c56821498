"""Has all that the queue hands out worked on at once; its consumer hands out no more than may be in progress.

Knows nothing of what is done with a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from trichord.jobs.consumer import Delivery, QueueConsumer

log = structlog.get_logger(__name__)


class Crew:
    """``start`` it, ``drain`` it."""

    def __init__(
        self, consumer: QueueConsumer, work: Callable[[Delivery], Coroutine[Any, Any, None]], drain_timeout_s: float
    ) -> None:
        """``work`` does what there is to do with a message, and marks it done."""
        self._consumer, self._work, self._drain_timeout_s = consumer, work, drain_timeout_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._feed: asyncio.Task[None] | None = None
        self._is_broken = False

    async def is_ready(self) -> bool:
        """Whether messages come, and none found a bug."""
        return self._consumer.is_connected and not self._is_broken

    async def start(self) -> None:
        """Begins to take messages."""
        await self._consumer.start()
        self._feed = asyncio.create_task(self._take(), name="feed")
        self._feed.add_done_callback(self._look)

    async def drain(self) -> None:
        """Takes no more, lets what is in progress end for a while, and commits what is done. May be called again."""
        if self._feed:
            self._feed.cancel()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=self._drain_timeout_s)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        await self._consumer.close()

    async def _take(self) -> None:
        async for delivery in self._consumer:
            task = asyncio.create_task(self._work(delivery), name="item")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(self._look)

    def _look(self, task: asyncio.Task[None]) -> None:
        """Tells of a task's death at once; a message that found a bug is not done, and comes again elsewhere."""
        if not task.cancelled() and (error := task.exception()):
            self._is_broken = True
            log.error("died", task=task.get_name(), exc_info=error)
