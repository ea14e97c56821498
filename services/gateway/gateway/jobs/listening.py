"""What workers tell of items that ended: word for ``Standing`` where to look, and for the keeper that there is room.

Every gateway hears all of it, from when it listens on. What it does not hear it finds in the store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import structlog

from gateway.jobs.standing import Standing
from trichord.errors import RequestError
from trichord.jobs.consumer import Delivery
from trichord.jobs.message import body_as
from trichord.v1 import jobs_pb2

log = structlog.get_logger(__name__)


async def listen(deliveries: AsyncIterator[Delivery], standing: Standing, wake: Callable[[], None]) -> None:
    """Passes on all that comes."""
    async for delivery in deliveries:
        try:
            event = body_as(delivery.message(), jobs_pb2.ItemEnded)
        except RequestError as error:
            log.warning("unreadable word of an item", error=error.message, topic=delivery.origin.topic)
        else:
            if standing.ended(event):
                wake()
        delivery.done()
