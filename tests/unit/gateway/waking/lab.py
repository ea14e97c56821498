"""A gateway whose vision encoder may sleep: its replicas are what a file lists, and the test writes the file."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.waking.room import WaitingRoom
from gateway.waking.settings import WakingSettings
from tests.redis_lab import RedisServer
from tests.unit.gateway.lab import Lab, running_lab
from trichord.v1 import tensor_pb2

SOON_S = 20
"""Longer than anything here takes on a busy machine; reached only when something hangs."""

IMAGE = tensor_pb2.MODALITY_IMAGE


@dataclass
class SleepyLab:
    """The gateway, and the file."""

    lab: Lab
    file: Path

    @property
    def room(self) -> WaitingRoom:
        return self.lab.cluster.waking.rooms._rooms[IMAGE]

    def wake(self) -> None:
        """Its replica is there."""
        write(self.file, f"127.0.0.1:{self.lab.servers['vision'].port}\n")

    async def fall_asleep(self) -> None:
        """Its replica is gone, and the gateway knows it."""
        write(self.file, "")
        await until(lambda: self.room.is_asleep)

    async def holds(self, num_held: int) -> None:
        await until(lambda: self.room.num_held == num_held)


def write(file: Path, text: str) -> None:
    """Replaces the file whole."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until it holds."""
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is another task's state, not ours to signal
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def sleepy_lab(folder: Path, redis: RedisServer | None = None, **waking: float) -> AsyncIterator[SleepyLab]:
    """Vision sleeps at first; audio does not."""
    file = folder / "vision.targets"
    file.touch()
    settings = WakingSettings.model_validate({"autoscaled": True, "publish_interval_s": 0.05, **waking})
    async with running_lab(redis, settings, vision=f"file://{file}") as lab:
        await lab.servers["vision"].health.set_serving(True)
        yield SleepyLab(lab, file)
