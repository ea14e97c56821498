"""Asking: bounded, in order, and ended by the first failure."""

from __future__ import annotations

import pytest

from tests.unit.training.evaluation.conftest import ScriptedModel
from trichord.errors import UnavailableError
from trichord_training.evaluation.asking import ask, ask_text_only
from trichord_training.evaluation.sample import Sample


def samples(count: int) -> list[Sample]:
    return [Sample("set", index, f"question {index % 3}", "", (b"picture",), b"sound") for index in range(count)]


async def test_answers_are_in_order_and_counted() -> None:
    model, counted = ScriptedModel(lambda sample: str(sample.index)), []
    assert await ask(model, samples(7), 3, counted.append) == [str(index) for index in range(7)]
    assert counted == [1] * 7
    assert model.most_running == 3


async def test_the_first_failure_is_told_as_itself() -> None:
    def fail(sample: Sample) -> str:
        raise UnavailableError("There is no gateway.")

    model = ScriptedModel(fail)
    with pytest.raises(UnavailableError, match="no gateway"):
        await ask(model, samples(20), 2, lambda count: None)
    assert len(model.asked) < 20


async def test_without_media_each_question_is_asked_once() -> None:
    model = ScriptedModel(lambda sample: sample.question.upper())
    answers = await ask_text_only(model, samples(6), 4)
    assert answers == [f"QUESTION {index % 3}" for index in range(6)]
    assert len(model.asked) == 3
    assert not any(sample.images or sample.sound for sample in model.asked)
