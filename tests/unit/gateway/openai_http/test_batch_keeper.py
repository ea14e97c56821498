"""Open batches are kept going by one gateway at a time, and what is old is removed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.identity.key_ring import utc_now
from gateway.jobs.turns import Turn
from gateway.openai_http.batch_keeper import BatchKeeper
from gateway.openai_http.batch_records import BatchRecords, BatchState
from gateway.openai_http.file_records import FileRecords
from gateway.openai_http.file_shapes import BatchRequest
from trichord.errors import NotFoundError, UnavailableError
from trichord.jobs.objects import ObjectStore, open_store
from trichord.jobs.settings import JobsSettings

REQUEST = BatchRequest(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
DAY_S = 24 * 3600


class Work:
    """Notes which batches it is asked to advance, and fails if told to."""

    def __init__(self) -> None:
        self.advanced: list[str] = []
        self.error: Exception | None = None
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def advance(self, tenant: str, batch_id: str) -> None:
        self.advanced.append(batch_id)
        await self.may_end.wait()
        if self.error:
            raise self.error


class Kept:
    """One gateway's keeper of batches in a directory."""

    def __init__(self, store: ObjectStore) -> None:
        self.work, self.batches = Work(), BatchRecords(store)
        files = FileRecords(store, JobsSettings())
        self.keeper = BatchKeeper(self.work, self.batches, files, Turn(store, utc_now, "batches"), 30)  # type: ignore[arg-type]

    async def make(self) -> BatchState:
        return await self.batches.create("acme", REQUEST, None, "")

    async def round(self) -> None:
        """One, and whatever it began."""
        await self.keeper.round()
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(open_store(str(tmp_path)))
    yield made
    await made.keeper.close()


async def test_each_round_goes_on_with_every_open_batch(kept: Kept) -> None:
    made = [(await kept.make()).spec.id for _ in range(3)]
    await kept.round()
    assert sorted(kept.work.advanced) == sorted(made)
    await kept.batches.close("acme", made[0])
    await kept.round()
    assert sorted(kept.work.advanced[3:]) == sorted(made[1:])


async def test_what_is_in_progress_is_not_begun_again(kept: Kept) -> None:
    await kept.make()
    kept.work.may_end.clear()
    await kept.round()
    await kept.round()
    assert len(kept.work.advanced) == 1
    kept.work.may_end.set()
    await kept.round()
    await kept.round()
    assert len(kept.work.advanced) > 1


@pytest.mark.parametrize("error", [UnavailableError("Away."), NotFoundError("Not yet."), ZeroDivisionError()])
async def test_a_batch_that_fails_is_tried_again_and_holds_up_nobody(kept: Kept, error: Exception) -> None:
    kept.work.error = error
    for _ in range(2):
        await kept.make()
    await kept.round()
    await kept.round()
    assert len(kept.work.advanced) == 4


async def test_keeping_outlives_a_fault(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.openai_http.batch_keeper.INTERVAL_S", 0.01)
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def broken() -> None:
        await rounds.put(None)
        raise ZeroDivisionError

    monkeypatch.setattr(kept.keeper, "round", broken)
    kept.keeper.start()
    for _ in range(2):
        await asyncio.wait_for(rounds.get(), 30)


async def test_only_one_gateway_has_the_turn(kept: Kept, tmp_path: Path) -> None:
    other = Kept(open_store(str(tmp_path)))
    await kept.make()
    await kept.round()
    await other.round()
    assert (len(kept.work.advanced), other.work.advanced) == (1, [])
    await kept.keeper.close()
    await other.round()
    assert len(other.work.advanced) == 1
    await other.keeper.close()


async def test_a_mark_without_a_batch_is_removed_after_an_hour(kept: Kept, tmp_path: Path) -> None:
    made = await kept.make()
    kept.work.error = NotFoundError("It was never made.")
    await kept.round()
    assert [batch.id async for batch in kept.batches.open()] == [made.spec.id]
    _age(tmp_path, "open-batches/*/*", 3601)
    await kept.round()
    await kept.round()
    assert [batch async for batch in kept.batches.open()] == []


async def test_old_batches_are_removed(kept: Kept, tmp_path: Path) -> None:
    old, new = await kept.make(), await kept.make()
    _age(tmp_path, f"batches/*/{old.spec.id}/*", 38 * DAY_S)
    await kept.keeper.sweep()
    with pytest.raises(NotFoundError):
        await kept.batches.get("acme", old.spec.id)
    assert await kept.batches.get("acme", new.spec.id) == new


def _age(folder: Path, pattern: str, seconds: float) -> None:
    then = time.time() - seconds
    for path in folder.glob(pattern):
        os.utime(path, (then, then))
