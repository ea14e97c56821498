"""The model in this process, against one that shares neither engine nor language model with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fused import FusedModel
from trichord.checkpoint.digest import fingerprint
from trichord.client import audio, image, user
from trichord.errors import CheckpointError
from trichord_training.evaluation.asking import MAX_TOKENS
from trichord_training.evaluation.inprocess import InProcessModel
from trichord_training.evaluation.sample import Sample
from trichord_training.evaluation.sets import SETS


@pytest.fixture(scope="module")
async def model(tiny: Path) -> AsyncIterator[InProcessModel]:
    loaded = InProcessModel(tiny)
    yield loaded
    loaded.close()


def independent_answer(fused: FusedModel, sample: Sample) -> str:
    """The text of the greedy answer; tiny's tokens are bytes, after its special ones."""
    sounds = [audio(sample.sound)] if sample.sound else []
    message = user(*map(image, sample.images), *sounds, sample.question)
    tokens = fused.greedy([message], MAX_TOKENS)
    vocabulary = fused._template._vocabulary
    return b"".join(vocabulary.token_bytes(token) for token in tokens).decode(errors="replace")


async def test_answers_are_the_independent_models(tiny: Path, model: InProcessModel) -> None:
    fused = FusedModel(tiny)
    names = ("shape", "two-images", "speech", "image-question")
    samples = [SETS[name].sample(0, "test", index) for name in names for index in range(2)]
    answers = await asyncio.gather(*(model.answer(sample) for sample in samples))
    assert answers == [independent_answer(fused, sample) for sample in samples]
    assert len(set(answers)) > 4


async def test_an_answer_is_the_same_alone_and_without_media_another(model: InProcessModel) -> None:
    sample = SETS["digit"].sample(0, "test", 1)
    first, again, blind = [await model.answer(asked) for asked in (sample, sample, sample.without_media())]
    assert first == again
    assert first != blind


async def test_its_identity_is_that_of_the_checkpoint(tiny: Path, model: InProcessModel) -> None:
    identity = await model.identity()
    assert identity.model == "tiny"
    assert identity.fingerprints == {tower: fingerprint(tiny, tower, "float32") for tower in ("vision", "audio")}


def test_a_checkpoint_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        InProcessModel(tmp_path)
