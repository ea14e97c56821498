"""A checkpoint small enough to answer in milliseconds, and models that need none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.pull import pull
from trichord_training.evaluation.asking import Identity
from trichord_training.evaluation.sample import Sample


@pytest.fixture(scope="session")
def tiny() -> Path:
    return pull("tiny", PRESETS["tiny"])


class ScriptedModel:
    """Answers what a function of the sample says, and notes what it was asked."""

    def __init__(self, say: Callable[[Sample], str], fingerprint: str = "f") -> None:
        self.say, self.fingerprint = say, fingerprint
        self.asked: list[Sample] = []
        self.running = self.most_running = 0

    async def identity(self) -> Identity:
        return Identity("scripted", {"vision": self.fingerprint, "audio": "a"})

    async def answer(self, sample: Sample) -> str:
        self.asked.append(sample)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        return self.say(sample)
