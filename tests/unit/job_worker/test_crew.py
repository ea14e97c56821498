"""All that the queue hands out is worked on; who drains lets it end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from job_worker.crew import Crew


@dataclass
class FakeConsumer:
    """Hands out what it is given; notes in what order things happen."""

    queue: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    events: list[str] = field(default_factory=list)
    is_connected: bool = True

    def __aiter__(self) -> FakeConsumer:
        return self

    async def __anext__(self) -> str:
        return await self.queue.get()

    async def start(self) -> None:
        self.events.append("start")

    async def close(self) -> None:
        self.events.append("close")


class Workshop:
    """Work that ends when the test says so."""

    def __init__(self, drain_timeout_s: float) -> None:
        self.consumer = FakeConsumer()
        self.may_end = asyncio.Event()
        self.crew = Crew(self.consumer, self.work, drain_timeout_s)  # type: ignore[arg-type]

    async def work(self, delivery: object) -> None:
        self.consumer.events.append(f"began {delivery}")
        if delivery == "bug":
            raise ZeroDivisionError
        await self.may_end.wait()
        self.consumer.events.append(f"ended {delivery}")

    async def take(self, *deliveries: str) -> None:
        for delivery in deliveries:
            self.consumer.queue.put_nowait(delivery)
        for _ in range(10):
            await asyncio.sleep(0)


async def test_all_is_worked_on_at_once_and_ends_before_the_queue_is_left() -> None:
    shop = Workshop(drain_timeout_s=30)
    await shop.crew.start()
    await shop.take("a", "b")
    draining = asyncio.create_task(shop.crew.drain())
    await shop.take("too late")
    assert not draining.done()
    shop.may_end.set()
    await draining
    assert shop.consumer.events == ["start", "began a", "began b", "ended a", "ended b", "close"]
    await shop.crew.drain()


async def test_what_does_not_end_in_time_is_left_to_the_next_worker() -> None:
    shop = Workshop(drain_timeout_s=0.01)
    await shop.crew.start()
    await shop.take("a")
    await shop.crew.drain()
    assert shop.consumer.events == ["start", "began a", "close"]


async def test_who_never_began_can_drain() -> None:
    shop = Workshop(drain_timeout_s=1)
    await shop.crew.drain()
    assert shop.consumer.events == ["close"]


async def test_ready_while_messages_can_come_and_no_bug_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    shop = Workshop(drain_timeout_s=1)
    await shop.crew.start()
    assert await shop.crew.is_ready()
    shop.consumer.is_connected = False
    assert not await shop.crew.is_ready()
    shop.consumer.is_connected = True
    await shop.take("bug", "a")
    assert not await shop.crew.is_ready()
    assert "ZeroDivisionError" in capsys.readouterr().out
    shop.may_end.set()
    await shop.crew.drain()
    assert "ended a" in shop.consumer.events
