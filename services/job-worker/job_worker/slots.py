"""How many items a worker has in progress: the first that fits is next, within shares of the modalities.

An item with an image takes one of the slots, and one of those that images may have; so jobs with images never hold all
that a worker does. Who does not fit is passed over, not waited for. Knows nothing of what is done in a slot.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from job_worker.modality import Media, Medium


@dataclass(eq=False)
class _Waiter:
    media: Media
    granted: asyncio.Event = field(default_factory=asyncio.Event)


class Slots:
    """At most ``num_slots`` in use, and of those with a medium no more than its share, but one at least."""

    def __init__(self, num_slots: int, shares: Mapping[Medium, float]) -> None:
        """``shares`` are fractions of the slots, above 0 and at most 1."""
        self._num_slots = num_slots
        self._limits = {medium: max(1, math.floor(num_slots * share)) for medium, share in shares.items()}
        self._num_used = 0
        self._num_with: Counter[Medium] = Counter()
        self._waiters: list[_Waiter] = []

    @asynccontextmanager
    async def slot(self, media: Media) -> AsyncIterator[None]:
        """Holds a slot inside, once there is one for an item with such media."""
        waiter = _Waiter(media)
        self._waiters.append(waiter)
        try:
            self._dispatch()
            await waiter.granted.wait()
            yield
        finally:
            self._leave(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter.granted.is_set():
            self._num_used -= 1
            self._num_with.subtract(waiter.media)
        else:
            self._waiters.remove(waiter)
        self._dispatch()

    def _dispatch(self) -> None:
        for waiter in list(self._waiters):
            if self._num_used < self._num_slots and self._has_room(waiter.media):
                self._num_used += 1
                self._num_with.update(waiter.media)
                self._waiters.remove(waiter)
                waiter.granted.set()

    def _has_room(self, media: Media) -> bool:
        return all(self._num_with[medium] < self._limits[medium] for medium in media)
