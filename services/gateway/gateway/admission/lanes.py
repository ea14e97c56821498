"""A lane for each modality, so that one's burst is not another's wait.

Images and sounds wait for encoder slots, and only then, like text, for a decoder's: a text request never stands behind
something that an encoder has yet to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal

from gateway.admission.lane import Lane, Ticket
from gateway.admission.load import Load
from gateway.admission.plan import Plans
from gateway.admission.priority_queue import Priority

LaneName = Literal["text", "image", "audio"]
"""The decoder's lane, and one for each encoder."""


class Lanes:
    """See the module."""

    def __init__(self, lanes: Mapping[LaneName, Lane], plans: Plans) -> None:
        self._lanes, self._plans = lanes, plans

    def slot(
        self, lane: LaneName, tenant: str, cost: int, priority: Priority, deadline_s: float
    ) -> AbstractAsyncContextManager[Ticket]:
        """See Lane.slot; the weight is that of the tenant's plan."""
        return self._lanes[lane].slot(tenant, cost, self._plans.of(tenant).weight, priority, deadline_s)

    def num_queued(self) -> Mapping[LaneName, int]:
        """How many wait in each."""
        return {name: lane.num_queued for name, lane in self._lanes.items()}

    def load(self, lane: LaneName) -> Load:
        """What a lane has to do."""
        return self._lanes[lane].load
