"""What a service told of itself, believed for a while: asking again on every request would cost each a round trip."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from trichord.errors import TrichordError
from trichord.telemetry import spans

T = TypeVar("T")

FRESH_S, STALE_S = 5.0, 60.0
"""Up to the first age it is believed; up to the second it is still used while it is asked for anew."""


class Recent(Generic[T]):
    """The newest answer of ``load``, which takes seconds that it may last."""

    def __init__(self, load: Callable[[float], Awaitable[T]], clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._clock = load, clock
        self._loaded_s = float("-inf")
        self._value: T | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def get(self, timeout_s: float) -> T:
        """The answer. Raises what ``load`` raises if none is young enough."""
        age_s = self._clock() - self._loaded_s
        if self._value is None or age_s > STALE_S:
            return await self._renewed(timeout_s)
        if age_s > FRESH_S and self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name="ask again", context=spans.background())
        return self._value

    async def close(self) -> None:
        """Ends an asking in progress."""
        if self._refreshing:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    async def _renewed(self, timeout_s: float) -> T:
        value = await self._load(timeout_s)
        self._value, self._loaded_s = value, self._clock()
        return value

    async def _refresh(self) -> None:
        try:
            await self._renewed(FRESH_S)
        except TrichordError:
            pass  # it is away: what it said last holds until it is too old
        finally:
            self._refreshing = None
