"""Background tasks that are kept, named, and whose death is logged at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from trichord.telemetry import spans

log = structlog.get_logger(__name__)


class Tasks:
    """Some tasks of one owner, who cancels what is left of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Starts one, in nobody's trace: it outlives the request that happens to be the first to need it."""
        task = asyncio.create_task(coroutine, name=name, context=spans.background())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def cancel(self) -> None:
        """Cancels all and waits for their ends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task died", task=task.get_name(), exc_info=error)
