"""Background tasks: kept, cancelled, and their death said."""

from __future__ import annotations

import asyncio

import structlog

from gateway.routing.tasks import Tasks


async def test_what_is_left_is_cancelled() -> None:
    tasks = Tasks()
    task = tasks.start(asyncio.Event().wait(), name="waits")  # type: ignore[arg-type]
    await tasks.cancel()
    assert task.cancelled()


async def test_a_death_is_logged_at_once() -> None:
    async def dies() -> None:
        raise ValueError("why")

    tasks = Tasks()
    with structlog.testing.capture_logs() as logs:
        await asyncio.wait([tasks.start(dies(), name="dies")])
        await asyncio.sleep(0)
    assert [(entry["event"], entry["task"]) for entry in logs] == [("background task died", "dies")]
