"""Decoding in worker threads: bounded in number and in memory, whatever callers do."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.vision_encoder import images
from trichord.errors import MediaError
from trichord.model_config import ModelConfig
from vision_encoder.byte_budget import ByteBudget
from vision_encoder.prepare import Preparer
from vision_encoder.settings import VisionSettings

SETTINGS = VisionSettings(checkpoint=Path("unused"), triton="unused", decode_workers=2)


@pytest.fixture
def preparer(config: ModelConfig) -> AsyncIterator[Preparer]:
    preparer = Preparer(config, SETTINGS)
    yield preparer
    preparer.close()


async def test_prepares_a_sliced_image(preparer: Preparer) -> None:
    data = images.file(images.picture(300, 200))
    prepared = await preparer.prepare(data)
    assert prepared.content_sha256 == hashlib.sha256(data).hexdigest()
    assert prepared.image.size == (300, 200)
    assert prepared.image.plan.cols * prepared.image.plan.rows > 1
    assert len(prepared.image.patches) == prepared.image.plan.num_patches
    assert prepared.queue_ms >= 0
    assert prepared.decode_ms > 0


async def test_the_size_is_that_of_the_upright_image(preparer: Preparer) -> None:
    assert (await preparer.prepare(images.turned("JPEG", 1))).image.size == (40, 30)
    assert (await preparer.prepare(images.turned("JPEG", 6))).image.size == (30, 40)


async def test_many_good_and_bad_at_once(preparer: Preparer) -> None:
    files = [*images.GOOD.values(), *images.BAD.values()]
    results = await asyncio.gather(*map(preparer.prepare, files), return_exceptions=True)
    assert [isinstance(result, MediaError) for result in results] == [False] * len(images.GOOD) + [True] * len(
        images.BAD
    )


async def test_what_was_cancelled_while_waiting_is_never_decoded(preparer: Preparer, monkeypatch) -> None:
    entered, leave = threading.Semaphore(0), threading.Event()
    seen = []

    def slow(data: bytes, *_: object) -> None:
        seen.append(data)
        entered.release()
        leave.wait()

    monkeypatch.setattr(preparer, "_prepare", slow)
    running = [asyncio.create_task(preparer.prepare(b"running")) for _ in range(2)]
    for _ in running:
        await asyncio.to_thread(entered.acquire)
    waiting = asyncio.create_task(preparer.prepare(b"waiting"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    leave.set()
    await asyncio.gather(*running)
    assert seen == [b"running"] * 2


def hold_in_thread(
    budget: ByteBudget, num_bytes: int, log: list[str], name: str
) -> tuple[threading.Thread, threading.Event]:
    release = threading.Event()

    def work() -> None:
        with budget.hold(num_bytes):
            log.append(name)
            release.wait()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, release


def eventually(condition) -> bool:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def test_a_budget_is_never_exceeded_and_keeps_order() -> None:
    budget, log = ByteBudget(10), []
    first, release_first = hold_in_thread(budget, 6, log, "first")
    assert eventually(lambda: log == ["first"])
    large, release_large = hold_in_thread(budget, 8, log, "large")
    assert eventually(budget._turn.locked)
    small, release_small = hold_in_thread(budget, 3, log, "small")  # would fit, but the large one was there before
    release_first.set()
    assert eventually(lambda: log == ["first", "large"])
    assert budget._free == 2
    release_large.set()
    assert eventually(lambda: log == ["first", "large", "small"])
    release_small.set()
    for thread in (first, large, small):
        thread.join()
    assert budget._free == 10


def test_what_exceeds_the_whole_budget_runs_alone() -> None:
    budget = ByteBudget(10)
    with budget.hold(1_000):
        assert budget._free == 0
    assert budget._free == 10


def test_an_error_gives_the_bytes_back() -> None:
    budget = ByteBudget(10)
    with pytest.raises(MediaError), budget.hold(7):
        raise MediaError("no")
    assert budget._free == 10
