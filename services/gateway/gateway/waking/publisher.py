"""Tells whoever scales what demand there is: all of it every second, and at once that an encoder is needed.

Redis away costs nothing: a report is not repeated but followed by the next, and a notice that is lost is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable

import structlog

from gateway.routing.tasks import Tasks
from gateway.waking.demand_meter import DemandMeter
from trichord import demand
from trichord.demand import Modality
from trichord.errors import OverloadedError
from trichord.redis_link import RedisAwayError, RedisLink

log = structlog.get_logger(__name__)


class Publisher:
    """Speaks for one gateway, under a name of its own."""

    def __init__(self, link: RedisLink, gateway_id: str, meter: DemandMeter, interval_s: float) -> None:
        self._link, self._gateway_id, self._interval_s = link, gateway_id, interval_s
        self.meter = meter
        self._tasks = Tasks()
        self._waking: dict[Modality, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Publishes from now on, until ``close``."""
        self._tasks.start(self._publish_always(), name="publish demand")

    def wake(self, modality: Modality) -> None:
        """Sends word that an encoder is needed. Returns at once; one word at a time is on its way."""
        if modality not in self._waking or self._waking[modality].done():
            log.info("waking", modality=modality)
            sending = _tried(demand.wake(self._link, modality))
            self._waking[modality] = self._tasks.start(sending, name=f"wake {modality}")

    async def close(self) -> None:
        """Says nothing more."""
        await self._tasks.cancel()

    async def _publish_always(self) -> None:
        while True:
            await _tried(demand.publish(self._link, self._gateway_id, self.meter.demands()))
            await asyncio.sleep(self._interval_s)


async def _tried(work: Awaitable[None]) -> None:
    with contextlib.suppress(RedisAwayError, OverloadedError):  # the link has logged it; the next report says the same
        await work
