"""Messages between the thread that fetches them and those that work on them: who is next, and what may be committed.

Thread-safe, and bounded by what its callers heed: ``full`` says which partitions to pause. Knows no Kafka.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from trichord.errors import RequestError
from trichord.jobs.message import Encoded, Message, Origin, decode

Place = tuple[str, int]
"""A topic and a partition of it."""


class Delivery:
    """A message, and the duty to say when its effect is there."""

    def __init__(self, intake: Intake, lane: Lane, origin: Origin, key: str, time: datetime, raw: Encoded) -> None:
        self._intake, self._lane = intake, lane
        self.origin = origin
        """Where it was read."""
        self.key = key
        """Empty if it has none."""
        self.time = time
        """When it was put into the queue, in UTC."""
        self.raw = raw
        """As it came: what is passed on when it cannot be read."""

    def message(self) -> Message:
        """What it says. Raises RequestError, see ``message.decode``: it can never be done, and must be put aside."""
        if isinstance(self._message, RequestError):
            raise self._message
        return self._message

    @cached_property
    def _message(self) -> Message | RequestError:
        # Not before it is its turn: whoever adds many holds up those who take.
        try:
            return decode(self.raw.value, self.raw.headers)
        except RequestError as error:
            return error

    def done(self) -> None:
        """Its effect is there: it may be committed as soon as all before it in its partition are done too.

        Thread-safe; may be called again. Without it the message comes again after a restart or a rebalance.
        """
        self._intake.done(self)

    @property
    def is_revoked(self) -> bool:
        """Whether another consumer has its partition now, and this message too: work on it is done twice."""
        return self._lane.is_revoked

    @property
    def not_before(self) -> datetime | None:
        """When it may be begun; None: at once."""
        return None if isinstance(self._message, RequestError) else self._message.history.not_before


@dataclass(frozen=True)
class Record:
    """A message as it was fetched."""

    origin: Origin
    key: str
    time: datetime
    raw: Encoded


class Lane:
    """One partition: what waits, and which offsets are done."""

    def __init__(self) -> None:
        self.waiting: deque[Delivery] = deque()
        self.is_revoked = False
        self._is_done: dict[int, bool] = {}
        """By offset, in the order of fetching: those from the first that is not done."""
        self.position: int | None = None
        """The offset before which all is done; None: before the first."""
        self.committed: int | None = None
        """The last one that brokers said they have."""

    def add(self, delivery: Delivery) -> None:
        """Puts it at the end: it is not done."""
        self._is_done[delivery.origin.offset] = False
        self.waiting.append(delivery)

    def done(self, offset: int) -> None:
        """Notes it; may be called again."""
        if offset not in self._is_done:
            return
        self._is_done[offset] = True
        while self._is_done and self._is_done[first := next(iter(self._is_done))]:
            del self._is_done[first]
            self.position = first + 1

    def next_due(self) -> datetime | None:
        """When the first that waits may be begun; None: now."""
        return self.waiting[0].not_before


class Intake:
    """All partitions that this process has."""

    def __init__(self, topics: Sequence[str], max_in_progress: int) -> None:
        """``topics``: the first ones go first. ``max_in_progress``: most deliveries handed out and not done."""
        self._ranks = {topic: rank for rank, topic in enumerate(topics)}
        self._max_in_progress = max_in_progress
        self._lock = threading.Lock()
        self._lanes: dict[Place, Lane] = {}
        self._in_progress: set[Delivery] = set()

    def assign(self, places: Iterable[Place]) -> None:
        """Begins with partitions; those that there are stay as they are."""
        with self._lock:
            for place in places:
                self._lanes.setdefault(place, Lane())

    def revoke(self, places: Iterable[Place]) -> None:
        """Forgets partitions, and what waits of them; what is in progress is worked on to its end."""
        with self._lock:
            for place in places:
                if lane := self._lanes.pop(place, None):
                    lane.is_revoked = True

    def add(self, records: Iterable[Record]) -> None:
        """Takes in what was fetched; what is of no partition of ours is left alone."""
        with self._lock:
            for record in records:
                if lane := self._lanes.get((record.origin.topic, record.origin.partition)):
                    lane.add(Delivery(self, lane, record.origin, record.key, record.time, record.raw))

    def take(self, now: datetime) -> Delivery | None:
        """The next to work on: of the first topic that has one, its partitions in turn. None: none now."""
        with self._lock:
            if len(self._in_progress) >= self._max_in_progress:
                return None
            ready = [place for place, lane in self._lanes.items() if lane.waiting and _is_due(lane, now)]
            if not ready:
                return None
            place = min(ready, key=lambda place: self._ranks[place[0]])
            lane = self._lanes[place] = self._lanes.pop(place)  # to the end: the others first, next time
            delivery = lane.waiting.popleft()
            self._in_progress.add(delivery)
            return delivery

    def next_due(self) -> datetime | None:
        """When the earliest of those that are held back is due; None: none is, or another must be done first."""
        with self._lock:
            if len(self._in_progress) >= self._max_in_progress:
                return None
            return min(
                (due for lane in self._lanes.values() if lane.waiting and (due := lane.next_due())), default=None
            )

    def done(self, delivery: Delivery) -> None:
        """See ``Delivery.done``."""
        with self._lock:
            self._in_progress.discard(delivery)
            delivery._lane.done(delivery.origin.offset)

    def positions(self) -> dict[Place, int]:
        """What is to be committed: by partition, the offset before which all is done, until ``committed`` is told."""
        with self._lock:
            return {
                place: lane.position
                for place, lane in self._lanes.items()
                if lane.position is not None and lane.position != lane.committed
            }

    def committed(self, positions: Mapping[Place, int]) -> None:
        """Brokers have these."""
        with self._lock:
            for place, position in positions.items():
                if lane := self._lanes.get(place):
                    lane.committed = position

    def full(self) -> set[Place]:
        """Partitions of which enough waits."""
        with self._lock:
            return {place for place, lane in self._lanes.items() if len(lane.waiting) >= self._max_in_progress}

    @property
    def places(self) -> set[Place]:
        """All of them."""
        with self._lock:
            return set(self._lanes)


def _is_due(lane: Lane, now: datetime) -> bool:
    due = lane.next_due()
    return due is None or due <= now
