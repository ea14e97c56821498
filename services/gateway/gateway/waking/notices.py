"""What one request is told while it waits: the newest notice of each encoder, so that a slow reader gets no backlog."""

from __future__ import annotations

import asyncio

from trichord.v1 import gateway_pb2, tensor_pb2


class Notices:
    """Told by waiting rooms, taken by whoever streams the request's events."""

    def __init__(self) -> None:
        self._newest: dict[tensor_pb2.Modality, gateway_pb2.Waiting] = {}
        self.changed = asyncio.Event()
        """Set when there is something new; whoever waits for it clears it."""

    def tell(self, waiting: gateway_pb2.Waiting) -> None:
        """Says how the wait for an encoder stands; an older word on the same one is forgotten."""
        self._newest[waiting.modality] = waiting
        self.changed.set()

    def take(self) -> list[gateway_pb2.Waiting]:
        """What was told since the last time."""
        taken = list(self._newest.values())
        self._newest.clear()
        return taken
