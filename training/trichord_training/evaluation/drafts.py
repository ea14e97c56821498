"""What a sample shows, says and asks, before anything is drawn or spoken: cheap, so thousands can be counted.

Every draft is drawn from a generator of chance and belongs to a split by its texts, as training's do. Answers that are
names are balanced: sample ``index`` has name ``index`` modulo their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from trichord_training.examples import ANSWER_IT, COMPARED, IN_PICTURES, REPEAT, as_written
from trichord_training.pictures import COLOURS, MAX_DIGITS, SHAPES, WORDS, Difficulty, Thing, some_thing
from trichord_training.questions import ABOUT_PICTURES, about, some_question
from trichord_training.sentences import some_digits, some_sentence
from trichord_training.splits import Split, split_of

Rng = np.random.Generator

_MAX_SPOKEN_DIGITS = 6


@dataclass(frozen=True)
class Draft:
    """A sample before it is drawn and spoken."""

    question: str
    """What is written below the media."""
    expected: str
    things: tuple[Thing, ...] = ()
    """What its pictures show, in order."""
    spoken: str = ""
    """What its sound says; empty if it has none."""

    @property
    def asked(self) -> str:
        """The question itself, spoken or written."""
        return self.spoken or self.question


def shape(rng: Rng, split: Split, index: int) -> Draft:
    """Which of eight shapes a picture shows."""
    return _written("shape", Thing("shape", SHAPES[index % len(SHAPES)], _colour(rng)), rng)


def colour(rng: Rng, split: Split, index: int) -> Draft:
    """Which of eight colours a shape, a number or a word has."""
    names = tuple(COLOURS)
    thing = replace(some_thing(rng, split, Difficulty()), colour=names[index % len(names)])
    return replace(_written("colour", thing, rng), expected=thing.colour)


def digit(rng: Rng, split: Split, index: int) -> Draft:
    """Which digit a picture shows."""
    return _written("number", Thing("number", str(index % 10), _colour(rng)), rng)


def number(rng: Rng, split: Split, index: int) -> Draft:
    """Which number of two to four digits, as many of each length, a picture shows; the number belongs to ``split``."""
    digits = 2 + index % (MAX_DIGITS - 1)
    while split_of(name := str(rng.integers(10 ** (digits - 1), 10**digits))) != split:
        pass
    return _written("number", Thing("number", name, _colour(rng)), rng)


def sign(rng: Rng, split: Split, index: int) -> Draft:
    """Which of sixteen words a picture shows."""
    return _written("word", Thing("word", WORDS[index % len(WORDS)], _colour(rng)), rng)


def two_images(rng: Rng, split: Split, index: int) -> Draft:
    """Which digits two pictures show, in their order; they differ."""
    first = index % 10
    second = (first + int(rng.integers(1, 10))) % 10
    things = tuple(Thing("number", str(name), _colour(rng)) for name in (first, second))
    return Draft(_one(rng, COMPARED), f"{first} and {second}", things)


def speech(rng: Rng, split: Split, index: int) -> Draft:
    """What was said: a sentence of two to eight words that belongs to ``split``."""
    sentence = some_sentence(rng, split)
    return Draft(_one(rng, REPEAT), sentence, spoken=sentence)


def spoken_digits(rng: Rng, split: Split, index: int) -> Draft:
    """What was said: one to six digits, as many strings of each length."""
    while len((digits := some_digits(rng, split)).split()) != 1 + index % _MAX_SPOKEN_DIGITS:
        pass
    return Draft(_one(rng, REPEAT), digits, spoken=digits)


def spoken_question(rng: Rng, split: Split, index: int) -> Draft:
    """The answer to a spoken question of general knowledge that belongs to ``split``."""
    question = some_question(rng, split)
    return Draft(_one(rng, ANSWER_IT), question.answer, spoken=question.text)


def image_question(rng: Rng, split: Split, index: int) -> Draft:
    """The answer to a spoken question about a picture."""
    thing = some_thing(rng, split, Difficulty())
    question = about(thing, rng)
    return Draft("", question.answer, (thing,), question.text)


def _written(topic: str, thing: Thing, rng: Rng) -> Draft:
    ways = (*IN_PICTURES[topic], *map(as_written, ABOUT_PICTURES[topic]))
    return Draft(_one(rng, ways), thing.name, (thing,))


def _colour(rng: Rng) -> str:
    return _one(rng, tuple(COLOURS))


def _one(rng: Rng, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
