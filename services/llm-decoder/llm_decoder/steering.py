"""What the front tells the engine of a request in progress: that its reader is slow, that some samples are over.

Knows nothing of the wire, and nothing of what the outputs are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple

import structlog

log = structlog.get_logger(__name__)

RETRY_S = 0.2
"""Between two attempts to tell the engine: it is busy, or it restarts and the stream will say so."""


class Wishes(NamedTuple):
    """All that is wished of a request. Told whole each time, so that telling it twice does no harm."""

    is_full: bool = False
    """Whether so much is undelivered that its sequences should rest."""
    ended_samples: frozenset[int] = frozenset()
    """Samples that nobody wants more of."""
    has_left: bool = False
    """Whether that is because the reader gave up, and not because they are complete."""


class Steering:
    """Tells the engine the latest wishes: one call at a time, beside the answer, and again if a call fails.

    A context manager: within it wishes are told.
    """

    def __init__(self, tell: Callable[[Wishes], Awaitable[None]], retry_s: float = RETRY_S) -> None:
        self._tell, self._retry_s = tell, retry_s
        self._wishes = Wishes()
        self._told: Wishes | None = self._wishes
        """What the engine knows; None if a call failed, and nobody can say whether it arrived."""
        self._changed = asyncio.Event()

    def rest(self, is_full: bool) -> None:
        """Wishes that the sequences rest, or go on."""
        self._wish(self._wishes._replace(is_full=is_full))

    def end(self, sample: int) -> None:
        """Wishes that a sample ends."""
        self._wish(self._wishes._replace(ended_samples=self._wishes.ended_samples | {sample}))

    async def __aenter__(self) -> Steering:
        self._telling = asyncio.create_task(self._keep_told(), name="steering")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)

    def _wish(self, wishes: Wishes) -> None:
        if wishes != self._wishes:
            self._wishes = wishes
            self._changed.set()

    async def _keep_told(self) -> None:
        while await self._changed.wait():
            self._changed.clear()
            while self._told != self._wishes:
                await self._tell_once(self._wishes)

    async def _tell_once(self, wishes: Wishes) -> None:
        try:
            await self._tell(wishes)
            self._told = wishes
        except Exception as error:  # whatever it was, the answer goes on
            log.warning("the engine was not told", wishes=wishes, error=repr(error))
            self._told = None
            await asyncio.sleep(self._retry_s)
