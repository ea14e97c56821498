"""Asks a model all samples of a set, several at once. Knows no way to a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trichord.checkpoint.digest import EncoderTower
from trichord.checkpoint.progress import Advance
from trichord_training.evaluation.sample import Sample

MAX_TOKENS = 32
"""Of an answer: the longest right one, a sentence of eight words, has about half as many."""


@dataclass(frozen=True)
class Identity:
    """Which model answers."""

    model: str
    fingerprints: dict[EncoderTower, str]
    """Of its encoders: they change with weights, sizes and type."""


class Model(Protocol):
    """A way to a model."""

    async def identity(self) -> Identity:
        """Which model answers."""

    async def answer(self, sample: Sample) -> str:
        """The greedy answer, of at most ``MAX_TOKENS`` tokens, to a sample's message alone."""


async def ask(model: Model, samples: Sequence[Sample], at_once: int, advance: Advance) -> list[str]:
    """The answers in the samples' order; ``advance`` counts them. The first failure ends all, as itself."""
    places = asyncio.Semaphore(at_once)

    async def one(sample: Sample) -> str:
        async with places:
            answer = await model.answer(sample)
        advance(1)
        return answer

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(sample)) for sample in samples]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def ask_text_only(model: Model, samples: Sequence[Sample], at_once: int) -> list[str]:
    """The answers without the media; questions that repeat are asked once, as greedy answers do not change."""
    alone = {sample.question: sample.without_media() for sample in samples}
    answers = await ask(model, list(alone.values()), at_once, lambda _: None)
    by_question = dict(zip(alone, answers, strict=True))
    return [by_question[sample.question] for sample in samples]
