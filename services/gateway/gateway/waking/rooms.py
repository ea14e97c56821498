"""A waiting room for each encoder; none where nothing sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.admission import charges
from gateway.conversation import Item
from gateway.deadline import Deadline
from gateway.waking.notices import Notices
from gateway.waking.room import WaitingRoom, Work
from trichord.v1 import tensor_pb2


class WaitingRooms:
    """See the module."""

    def __init__(self, rooms: Mapping[tensor_pb2.Modality, WaitingRoom]) -> None:
        self._rooms = rooms

    async def awake(self, item: Item, deadline: Deadline, notices: Notices | None) -> float:
        """Holds a medium until its encoder has a replica; see WaitingRoom. Seconds that it was held: mostly none."""
        room = self._rooms.get(item.modality)
        if room is None:
            return 0.0
        _, cost = charges.lane(item)
        return await room.awake(Work(cost, len(item.content)), deadline.hop_s(), notices)

    def are_asleep(self, modality: tensor_pb2.Modality) -> bool:
        """Whether an encoder has no replica, and may be waited for."""
        room = self._rooms.get(modality)
        return room is not None and room.is_asleep

    async def close(self) -> None:
        """Watches no more."""
        await asyncio.gather(*(room.close() for room in self._rooms.values()))
