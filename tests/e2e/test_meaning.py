"""The default model sees and hears: what a picture shows and what a sound says comes back through the whole cluster.

Pictures and sounds are held out: fonts, voices and texts that training never met.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.conftest import running_cluster
from trichord.client import OmniClient, audio, image, user
from trichord.media.windows import SAMPLE_RATE
from trichord_training.pictures import Difficulty, Thing, draw
from trichord_training.speech import Voice, speak
from trichord_training.splits import sample_rng

QUESTION = "What number is in the picture?"
EASY = Difficulty(place=0.2, paint=0.2, long=0.0)
VOICE = Voice("en-us", "f3", words_per_minute=150, pitch=50)


@pytest.fixture(scope="module")
def demo_cluster():
    with running_cluster("test-demo", "demo", "bfloat16") as cluster:
        yield cluster


CLEAR = 7
"""A draw that the model reads: how often it reads any is for ``trichord eval``."""


def picture(name, kind="number", colour="white", seed=CLEAR):
    """PNG of a thing, in a font of the test set."""
    pixels = draw(Thing(kind, name, colour), sample_rng(seed, "test", 0), "test", (240, 240), EASY)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return image(file.getvalue())


def sound(text):
    """WAV of a text, in a voice of the test set."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(speak(text, VOICE), -1, 1), SAMPLE_RATE, format="WAV")
    return audio(file.getvalue())


async def answer(cluster, *parts):
    async with OmniClient(cluster.gateway) as client:
        return (await client.answer([user(*parts)], max_tokens=24, temperature=0.0)).text.strip()


async def answers(cluster, conversations):
    return [await answer(cluster, *parts) for parts in conversations]


@pytest.mark.demo
async def test_a_picture_of_a_number_gives_that_number_and_another_another(demo_cluster):
    drawn = [(digit, seed) for seed in range(3) for digit in "0123456789"]
    read = await answers(demo_cluster, [(picture(digit, seed=seed), QUESTION) for digit, seed in drawn])
    right = sum(answer == digit for answer, (digit, _) in zip(read, drawn, strict=True))
    assert right >= 24, read


@pytest.mark.demo
async def test_without_the_picture_the_number_is_not_known(demo_cluster):
    assert "7" not in await answer(demo_cluster, QUESTION)


@pytest.mark.demo
async def test_two_pictures_are_read_in_the_order_they_were_sent(demo_cluster):
    question = "What numbers are in the pictures?"
    assert await answer(demo_cluster, picture("7"), picture("3"), question) == "7 and 3"
    assert await answer(demo_cluster, picture("3"), picture("7"), question) == "3 and 7"


@pytest.mark.demo
async def test_shapes_and_colours_are_named(demo_cluster):
    drawn = picture("star", "shape", "yellow")
    assert await answer(demo_cluster, drawn, "What shape is this?") == "star"
    assert await answer(demo_cluster, drawn, "What colour is this?") == "yellow"


@pytest.mark.demo
async def test_a_spoken_digit_gives_that_digit(demo_cluster):
    digits = ["seven", "two", "nine"]
    assert await answers(demo_cluster, [(sound(digit), "Repeat what was said.") for digit in digits]) == digits


@pytest.mark.demo
async def test_a_spoken_question_is_answered(demo_cluster):
    assert await answer(demo_cluster, sound("what is the capital of france")) == "Paris"


@pytest.mark.demo
async def test_a_spoken_question_about_a_picture_is_answered(demo_cluster):
    assert await answer(demo_cluster, picture("circle", "shape", "red"), sound("what colour is this")) == "red"
    assert await answer(demo_cluster, picture("5"), sound("which number is it")) == "5"
