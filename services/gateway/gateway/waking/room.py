"""Where media wait for an encoder that sleeps: bounded, within their deadlines, let go at once when it is awake.

Holds no slot of any lane: who is let go queues there like everybody else. Knows nothing of who wakes encoders, and how.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.metrics.admission import SHEDS
from gateway.metrics.media import MODALITIES, held
from gateway.routing.tasks import Tasks
from gateway.waking.notices import Notices
from gateway.waking.startup import Startup
from trichord.errors import DeadlineError, OverloadedError, UnavailableError
from trichord.telemetry import spans
from trichord.v1 import gateway_pb2, tensor_pb2

POLL_S = 0.05
"""Between two looks at an encoder that is being woken; one task looks for all who wait."""
WORDS = {tensor_pb2.MODALITY_IMAGE: "vision", tensor_pb2.MODALITY_AUDIO: "audio"}
"""What encoders are called."""


class Sleeper(Protocol):
    """An encoder that may have no replicas; ``backends.Encoder`` is one."""

    @property
    def is_asleep(self) -> bool:
        """Whether it has no replica."""

    @property
    def is_heard(self) -> bool:
        """Whether it has a replica of whose health something is known."""

    async def known(self) -> None:
        """Waits until it is known who its replicas are."""

    def look(self) -> None:
        """Looks for replicas soon."""


class Work(NamedTuple):
    """What waits."""

    cost: int
    """In the unit of the encoder's lane: tiles, or seconds of sound."""
    num_bytes: int
    """That it keeps in memory."""


@dataclass
class HeldBytes:
    """Memory that all rooms share."""

    limit: int
    num_bytes: int = 0

    def fits(self, num_bytes: int) -> bool:
        """Whether so many more may be held."""
        return self.num_bytes + num_bytes <= self.limit


@dataclass(frozen=True)
class RoomBounds:
    """What a room may hold, and how often it speaks."""

    max_held: int
    notice_interval_s: float


@dataclass(eq=False)
class _Place:
    work: Work
    notices: Notices
    since_s: float
    awake: asyncio.Event = field(default_factory=asyncio.Event)


class WaitingRoom:
    """The room before one encoder."""

    def __init__(
        self,
        modality: tensor_pb2.Modality,
        sleeper: Sleeper,
        bounds: RoomBounds,
        held_bytes: HeldBytes,
        startup: Startup,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``wake`` sends word that the encoder is needed; it returns at once, and its word may be lost."""
        self._modality, self._sleeper, self._bounds, self._bytes = modality, sleeper, bounds, held_bytes
        self._startup, self._wake, self._clock = startup, wake, clock
        self._places: list[_Place] = []  # in the order in which they came
        self._woken_s = 0.0
        self._tasks = Tasks()
        self._watch: asyncio.Task[None] | None = None

    @property
    def num_held(self) -> int:
        """Media that wait."""
        return len(self._places)

    @property
    def held_cost(self) -> int:
        """Their work together."""
        return sum(place.work.cost for place in self._places)

    @property
    def is_asleep(self) -> bool:
        """Whether the encoder has no replica."""
        return self._sleeper.is_asleep

    async def awake(self, work: Work, deadline_s: float, notices: Notices | None) -> float:
        """Waits until the encoder has a replica, waking it if it has none; returns the seconds that took.

        ``notices`` are told how the wait stands; without, there is none. Raises UnavailableError in that case,
        OverloadedError if the room is full, and DeadlineError after ``deadline_s``.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self._sleeper.known()
                if not self.is_asleep:
                    return 0.0
                with spans.span("wake"):
                    return await self._held(work, notices)
        except TimeoutError as error:
            message = f"The request's deadline passed while {self._name} was woken. Allow a longer one, or try again."
            raise DeadlineError(message) from error

    async def close(self) -> None:
        """Watches no more."""
        await self._tasks.cancel()

    @property
    def _name(self) -> str:
        return f"the {WORDS[self._modality]} encoder"

    async def _held(self, work: Work, notices: Notices | None) -> float:
        if notices is None:
            self._wake()
            message = f"The {WORDS[self._modality]} encoder was asleep, and is being woken. Try again shortly."
            raise UnavailableError(message, retry_after_s=self._left_s())
        place = self._enter(work, notices)
        try:
            with held(self._modality):
                await place.awake.wait()
        finally:
            self._leave(place)
        return self._clock() - place.since_s

    def _enter(self, work: Work, notices: Notices) -> _Place:
        if self.num_held >= self._bounds.max_held or not self._bytes.fits(work.num_bytes):
            SHEDS.labels("room_full", MODALITIES[self._modality]).inc()
            raise self._full()
        place = _Place(work, notices, self._clock())
        if not self._places:
            self._woken_s = place.since_s
            self._wake()
            self._watch = self._tasks.start(self._until_awake(), name=f"wait for {self._name}")
        self._places.append(place)
        self._bytes.num_bytes += work.num_bytes
        notices.tell(self._waiting(self.num_held - 1))
        return place

    def _full(self) -> OverloadedError:
        left_s = self._left_s()
        message = f"As much as is held waits for {self._name}, which is being woken. Try again in {left_s:.1f} s."
        return OverloadedError(message, retry_after_s=left_s)

    def _leave(self, place: _Place) -> None:
        self._bytes.num_bytes -= place.work.num_bytes
        if place in self._places:
            self._places.remove(place)
            if not self._places and self._watch:
                self._watch.cancel()

    async def _until_awake(self) -> None:
        told_s = self._clock()
        while not self._sleeper.is_heard:
            self._sleeper.look()
            await asyncio.sleep(POLL_S)
            if self._clock() - told_s >= self._bounds.notice_interval_s:
                told_s = self._clock()
                self._tell_all()
        self._startup.took(self._clock() - self._woken_s)
        let_go, self._places = self._places, []
        for place in let_go:
            place.awake.set()

    def _tell_all(self) -> None:
        for position, place in enumerate(self._places):
            place.notices.tell(self._waiting(position))

    def _waiting(self, position: int) -> gateway_pb2.Waiting:
        return gateway_pb2.Waiting(
            modality=self._modality,
            reason=f"The {WORDS[self._modality]} encoder was asleep, and is being woken.",
            estimated_seconds=self._left_s(),
            position=position,
        )

    def _left_s(self) -> float:
        return self._startup.left_s(self._clock() - self._woken_s if self._places else 0.0)
