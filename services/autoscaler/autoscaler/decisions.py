"""The last decisions: the newest of each modality, and a bounded ring of those that changed something.

Who waits for news is told at each. Knows neither how decisions are made nor who asks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from autoscaler.actuator import Replicas
from autoscaler.policy import Decision
from trichord.demand import Modality
from trichord.errors import UnavailableError

MAX_CHANGES = 200


@dataclass(frozen=True)
class Record:
    """One decision as it was made."""

    modality: Modality
    at_s: float
    """Unix time."""
    seen: Replicas
    decision: Decision


class Decisions:
    """See the module."""

    def __init__(self) -> None:
        self.latest: dict[Modality, Record] = {}
        self.changes: deque[Record] = deque(maxlen=MAX_CHANGES)
        self._news = asyncio.Event()

    def note(self, records: Mapping[Modality, Record]) -> None:
        """Keeps one round of decisions and wakes who waits for it."""
        self.latest = dict(records)
        self.changes.extend(record for record in records.values() if record.decision.replicas != record.seen.desired)
        self._news.set()
        self._news = asyncio.Event()

    def of(self, modality: Modality) -> Decision:
        """The newest decision. Raises UnavailableError while there is none: nobody shall take that for a zero."""
        record = self.latest.get(modality)
        if record is None:
            raise UnavailableError(f"Nothing is decided for {modality} yet. Ask again.", retry_after_s=1.0)
        return record.decision

    async def follow(self) -> AsyncIterator[None]:
        """Once now, and after every round; a round that comes while the last is dealt with is not missed."""
        for _ in itertools.count():
            news = self._news
            yield
            await news.wait()
