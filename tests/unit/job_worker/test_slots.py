"""Who may begin: within all slots and within each medium's share, the first that fits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_worker.modality import UNKNOWN, Media, Medium, media
from job_worker.slots import Slots
from trichord.client import audio, embedding, image, image_url, user
from trichord.v1 import gateway_pb2, jobs_pb2, tensor_pb2

TEXT: Media = frozenset()
IMAGE: Media = frozenset({"image"})
AUDIO: Media = frozenset({"audio"})
SHARES: dict[Medium, float] = {"image": 0.5, "audio": 0.25}


class Crowd:
    """Those who hold a slot of four until they are let go."""

    def __init__(self) -> None:
        self.slots = Slots(4, SHARES)
        self.inside: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.exits: list[asyncio.Event] = []

    async def come(self, *crowd: Media) -> None:
        for one in crowd:
            self.exits.append(asyncio.Event())
            self.tasks.append(asyncio.create_task(self._hold(len(self.tasks), one)))
        await settle()

    async def _hold(self, number: int, one: Media) -> None:
        async with self.slots.slot(one):
            self.inside.append(number)
            await self.exits[number].wait()
        self.inside.remove(number)

    async def go(self, number: int) -> None:
        self.exits[number].set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def crowd():
    crowd = Crowd()
    yield crowd
    for task in crowd.tasks:
        task.cancel()
    await asyncio.gather(*crowd.tasks, return_exceptions=True)


async def test_no_more_than_there_are_slots(crowd: Crowd) -> None:
    await crowd.come(*[TEXT] * 6)
    assert crowd.inside == [0, 1, 2, 3]
    await crowd.go(2)
    assert crowd.inside == [0, 1, 3, 4]


async def test_a_medium_stays_within_its_share_and_others_pass(crowd: Crowd) -> None:
    await crowd.come(IMAGE, IMAGE, IMAGE, TEXT, AUDIO, AUDIO, TEXT)
    assert crowd.inside == [0, 1, 3, 4]
    await crowd.go(3)
    assert crowd.inside == [0, 1, 4, 6]
    await crowd.go(0)
    assert crowd.inside == [1, 4, 6, 2]


async def test_who_has_both_needs_room_for_both(crowd: Crowd) -> None:
    await crowd.come(AUDIO, UNKNOWN, IMAGE)
    assert crowd.inside == [0, 2]
    await crowd.go(0)
    assert crowd.inside == [2, 1]


async def test_who_leaves_the_queue_is_passed_over_and_who_is_cancelled_inside_makes_room(crowd: Crowd) -> None:
    await crowd.come(*[TEXT] * 6)
    crowd.tasks[4].cancel()
    crowd.tasks[0].cancel()
    await settle()
    assert crowd.inside[-1] == 5
    await crowd.go(1)
    await crowd.come(TEXT, TEXT)
    assert len(set(crowd.inside) - {0}) == 4


@given(st.lists(st.sampled_from([TEXT, IMAGE, AUDIO, UNKNOWN]), max_size=12), st.integers(1, 5), st.floats(0.01, 1.0))
async def test_everyone_has_a_turn_and_no_limit_is_broken(crowd: Sequence[Media], num_slots: int, share: float) -> None:
    slots, inside, most = Slots(num_slots, {"image": share, "audio": share}), list[Media](), list[int]()

    async def hold(one: Media) -> None:
        async with slots.slot(one):
            inside.append(one)
            images = sum("image" in other for other in inside)
            assert len(inside) <= num_slots
            assert images <= max(1, num_slots * share)
            most.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(one)

    await asyncio.gather(*map(hold, crowd))
    assert len(most) == len(crowd)


def test_the_media_of_an_item_are_those_that_encoders_have_to_see() -> None:
    rows = tensor_pb2.Embedding(modality=tensor_pb2.MODALITY_IMAGE)

    def of(*parts: object) -> Media:
        request = gateway_pb2.ChatRequest(messages=[user("before"), user(*parts)])
        return media(jobs_pb2.QueuedItem(item=jobs_pb2.JobItem(request=request)))

    assert of("only text") == TEXT
    assert of(image(b"x"), "text") == of(image_url("https://example.com/a.png")) == IMAGE
    assert of(audio(b"x")) == AUDIO
    assert of(audio(b"x"), image(b"x")) == IMAGE | AUDIO
    assert of(embedding(rows)) == TEXT
    assert media(jobs_pb2.QueuedItem()) == UNKNOWN
