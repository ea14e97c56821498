"""Who is there: keeps asking a resolver, and tells whenever the answer changes.

Knows names and addresses only; what becomes of them is the pool's.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence

import structlog

from gateway.routing.settings import RoutingSettings
from gateway.routing.target import Resolve, Target

log = structlog.get_logger(__name__)

LOOK_UP_TIMEOUT_S = 5.0
"""A resolver that hangs counts as one that failed."""

MIN_PAUSE_S = 1.0
"""Between two look-ups, however many calls fail in between."""

JITTER = 0.2
"""Gateways that were started together must not ask together."""


class Discovery:
    """Follows one name. ``tell`` is called with all addresses after every look-up that changed them."""

    def __init__(
        self,
        target: Target,
        resolve: Resolve,
        tell: Callable[[Sequence[str]], None],
        settings: RoutingSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target, self._resolve, self._tell, self._settings, self._clock = target, resolve, tell, settings, clock
        self._known: list[str] = []
        self._known_since_s = clock()
        self._doubted = asyncio.Event()
        self.finds_nobody = False
        """Whether the last look-up found no address, because there is none or because it failed."""
        self.looked_up = asyncio.Event()
        """Set once the first look-up has ended, well or not."""

    def doubt(self) -> None:
        """Somebody failed to reach an address: looks the name up again soon."""
        self._doubted.set()

    async def follow(self) -> None:
        """Looks the name up, now and then again, until cancelled."""
        while True:
            await self.look_up()
            await asyncio.sleep(min(MIN_PAUSE_S, self._settings.resolve_interval_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.resolve_interval_s * random.uniform(1 - JITTER, 1 + JITTER)):  # noqa: S311
                    await self._doubted.wait()
            self._doubted.clear()

    async def look_up(self) -> None:
        """Asks once. A failure changes nothing until the last good answer is ``stale_s`` old."""
        answer = await self._ask()
        self.finds_nobody = not answer
        if answer is not None:
            self._known_since_s = self._clock()
        elif self._clock() - self._known_since_s < self._settings.stale_s:
            answer = self._known
        addresses = answer or []
        if addresses != self._known:
            log.info("replicas", name=self._target.name, addresses=addresses)
            self._known = addresses
            self._tell(addresses)
        self.looked_up.set()

    async def _ask(self) -> list[str] | None:
        """All addresses; None if it cannot be told."""
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                return sorted(set(await self._resolve(self._target.name, self._target.port)))
        except OSError as error:  # TimeoutError is one
            log.warning("name does not resolve", name=self._target.name, error=repr(error))
            return None
