"""A waiting room before an encoder that the test puts to sleep and wakes; its clock is the test's, too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.waking.notices import Notices
from gateway.waking.room import HeldBytes, RoomBounds, WaitingRoom, Work
from gateway.waking.startup import Startup
from tests.unit.gateway.waking.lab import IMAGE, until
from trichord.errors import DeadlineError, OverloadedError, UnavailableError
from trichord.v1 import tensor_pb2

LONG_S = 30.0


class Sleeper:
    def __init__(self) -> None:
        self.is_asleep, self.is_heard = True, False
        self.num_looks = 0

    async def known(self) -> None:
        return None

    def look(self) -> None:
        self.num_looks += 1

    def rise(self) -> None:
        self.is_asleep, self.is_heard = False, True

    def doze(self) -> None:
        self.is_asleep, self.is_heard = True, False


class RoomLab:
    """A room of two, with 100 bytes."""

    def __init__(self, max_held: int = 2, held_bytes: HeldBytes | None = None) -> None:
        self.sleeper, self.num_wakes, self.now_s = Sleeper(), 0, 0.0
        self.bytes = held_bytes or HeldBytes(100)
        bounds = RoomBounds(max_held, notice_interval_s=5.0)
        self.room = WaitingRoom(
            IMAGE, self.sleeper, bounds, self.bytes, Startup(20.0), self.wake, clock=lambda: self.now_s
        )

    def wake(self) -> None:
        self.num_wakes += 1

    def hold(self, cost: int = 1, num_bytes: int = 10, deadline_s: float = LONG_S) -> tuple[Any, Notices]:
        notices = Notices()
        held = asyncio.create_task(self.room.awake(Work(cost, num_bytes), deadline_s, notices))
        return held, notices

    async def held(self, num_held: int) -> None:
        await until(lambda: self.room.num_held == num_held)

    def is_empty(self) -> bool:
        return not self.room.num_held and not self.room.held_cost and not self.bytes.num_bytes


async def test_nobody_waits_for_an_encoder_that_is_awake() -> None:
    lab = RoomLab()
    lab.sleeper.rise()
    assert await lab.room.awake(Work(1, 10), LONG_S, Notices()) == 0.0
    assert lab.num_wakes == 0


async def test_all_who_wait_are_let_go_at_once_and_it_is_woken_once() -> None:
    lab = RoomLab()
    (first, _), (second, notices) = lab.hold(cost=2), lab.hold(cost=3)
    await lab.held(2)
    assert (lab.room.held_cost, lab.bytes.num_bytes, lab.num_wakes) == (5, 20, 1)
    (told,) = notices.take()
    assert (told.modality, told.estimated_seconds, told.position) == (IMAGE, 20.0, 1)
    lab.now_s = 7.0
    lab.sleeper.rise()
    assert await asyncio.gather(first, second) == [7.0, 7.0]
    assert lab.is_empty()
    assert lab.sleeper.num_looks > 0


async def test_what_does_not_fit_is_refused_with_the_time_that_is_left() -> None:
    lab = RoomLab()
    waiting = [lab.hold()[0], lab.hold()[0]]
    await lab.held(2)
    lab.now_s = 12.5
    with pytest.raises(OverloadedError, match=r"vision encoder.*Try again in 7\.5 s") as refused:
        await lab.room.awake(Work(1, 10), LONG_S, Notices())
    assert refused.value.retry_after_s == 7.5
    lab.now_s = 60.0
    with pytest.raises(OverloadedError) as overdue:
        await lab.room.awake(Work(1, 10), LONG_S, Notices())
    assert overdue.value.retry_after_s == 1.0, "nobody knows; soon"
    lab.sleeper.rise()
    await asyncio.gather(*waiting)
    assert lab.is_empty()


async def test_bytes_are_counted_over_all_rooms() -> None:
    shared = HeldBytes(100)
    one, other = RoomLab(held_bytes=shared), RoomLab(held_bytes=shared)
    held, _ = one.hold(num_bytes=60)
    await one.held(1)
    with pytest.raises(OverloadedError):
        await other.room.awake(Work(1, 41), LONG_S, Notices())
    assert other.num_wakes == 0, "who is refused before anyone waits has not woken it"
    fits, _ = other.hold(num_bytes=40)
    await other.held(1)
    for lab in (one, other):
        lab.sleeper.rise()
    await asyncio.gather(held, fits)
    assert shared.num_bytes == 0


async def test_who_leaves_while_held_leaves_nothing_and_the_others_wait_on() -> None:
    lab = RoomLab()
    (first, _), (second, _) = lab.hold(), lab.hold()
    await lab.held(2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert lab.room.num_held == 1
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert lab.is_empty()
    before = lab.sleeper.num_looks
    await asyncio.sleep(0.2)
    assert lab.sleeper.num_looks - before <= 1, "nobody watches an encoder for nobody"


async def test_a_deadline_ends_the_wait_and_leaves_nothing() -> None:
    lab = RoomLab()
    with pytest.raises(DeadlineError, match="vision encoder was woken"):
        await lab.room.awake(Work(1, 10), 0.05, Notices())
    assert lab.is_empty()


async def test_who_does_not_wait_wakes_it_and_is_told_when_to_come_back() -> None:
    lab = RoomLab()
    with pytest.raises(UnavailableError, match="being woken") as refused:
        await lab.room.awake(Work(1, 10), LONG_S, None)
    assert refused.value.retry_after_s == 20.0
    assert lab.num_wakes == 1
    assert lab.is_empty()


async def test_those_who_wait_are_told_again_and_again_where_they_stand() -> None:
    lab = RoomLab()
    (first, _), (second, notices) = lab.hold(), lab.hold()
    await lab.held(2)
    assert [told.position for told in notices.take()] == [1]
    first.cancel()
    await lab.held(1)
    lab.now_s = 6.0
    await until(lambda: bool(notices._newest))
    (told,) = notices.take()
    assert (told.position, told.estimated_seconds) == (0, 14.0)
    lab.sleeper.rise()
    await second


async def test_it_can_fall_asleep_again_while_those_let_go_are_leaving() -> None:
    lab = RoomLab(max_held=9)
    first, _ = lab.hold()
    await lab.held(1)
    lab.sleeper.rise()
    await first
    lab.sleeper.doze()
    again, _ = lab.hold()
    await lab.held(1)
    assert lab.num_wakes == 2
    lab.sleeper.rise()
    await again
    assert lab.is_empty()


async def test_the_newest_word_on_an_encoder_is_the_one_that_is_passed_on() -> None:
    from trichord.v1 import gateway_pb2

    notices = Notices()
    for modality, position in ((IMAGE, 3), (tensor_pb2.MODALITY_AUDIO, 0), (IMAGE, 1)):
        notices.tell(gateway_pb2.Waiting(modality=modality, position=position))
    assert notices.changed.is_set()
    assert {told.modality: told.position for told in notices.take()} == {IMAGE: 1, tensor_pb2.MODALITY_AUDIO: 0}
    assert notices.take() == []


def test_the_estimate_follows_what_was_measured() -> None:
    startup = Startup(60.0)
    assert startup.left_s(0.0) == 60.0
    startup.took(4.0)
    assert startup.left_s(0.0) == 4.0, "a measurement beats an assumption"
    startup.took(8.0)
    assert startup.left_s(1.0) == 5.0
    assert startup.left_s(100.0) == 1.0
