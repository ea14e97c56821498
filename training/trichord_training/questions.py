"""Questions that are spoken or written, and their answers: of general knowledge, and about a picture.

A question is in one set only, by its own text, except those about a picture, which are few: there the picture differs.
Knows no voice and no drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trichord_training import lexicon as words
from trichord_training.pictures import Thing
from trichord_training.splits import Split, split_of


@dataclass(frozen=True)
class Question:
    """What is asked, in spoken form, and the answer."""

    text: str
    answer: str


CAPITALS = {
    "france": "Paris", "spain": "Madrid", "italy": "Rome", "germany": "Berlin", "england": "London", "russia": "Moscow",
    "japan": "Tokyo", "china": "Beijing", "egypt": "Cairo", "greece": "Athens", "poland": "Warsaw", "norway": "Oslo",
    "sweden": "Stockholm", "canada": "Ottawa", "cuba": "Havana", "india": "New Delhi", "ireland": "Dublin",
}  # fmt: skip

OPPOSITES = {
    "hot": "cold", "cold": "hot", "big": "small", "small": "big", "wet": "dry", "dry": "wet", "happy": "sad",
    "young": "old", "old": "young", "hard": "soft", "soft": "hard", "clean": "dirty", "dirty": "clean", "rich": "poor",
    "poor": "rich", "light": "heavy", "heavy": "light", "tall": "short", "strong": "weak", "empty": "full",
}  # fmt: skip

COLOUR_OF = {
    "the sky": "blue", "grass": "green", "snow": "white", "a banana": "yellow", "a lemon": "yellow", "a tomato": "red",
    "milk": "white", "coffee": "brown", "a cherry": "red",
}  # fmt: skip

FACTS = {
    "how many days are in a week": "seven", "how many months are in a year": "twelve",
    "how many legs does a spider have": "eight", "how many legs does a dog have": "four",
    "how many wheels does a bicycle have": "two", "how many legs does a chicken have": "two",
    "which animal says meow": "a cat", "which animal gives milk": "a cow", "what do bees make": "honey",
}  # fmt: skip

ABOUT_PICTURES = {
    "colour": ("what colour is this", "which colour is it", "what colour do you see"),
    "shape": ("what shape is this", "which shape is it", "what shape do you see"),
    "number": ("what number is this", "which number is it", "what number do you see"),
    "word": ("what does the sign say", "what word is this", "please read the sign"),
}
"""Ways to ask for one thing about a picture."""


def _general() -> Iterator[Question]:
    for country, capital in CAPITALS.items():
        yield Question(f"what is the capital of {country}", capital)
        yield Question(f"which city is the capital of {country}", capital)
    for quality, opposite in OPPOSITES.items():
        yield Question(f"what is the opposite of {quality}", opposite)
        yield Question(f"please name the opposite of {quality}", opposite)
    for thing, colour in COLOUR_OF.items():
        yield Question(f"what colour is {thing}", colour)
        yield Question(f"which colour is {thing}", colour)
    for text, answer in FACTS.items():
        yield Question(text, answer)
        yield Question(f"please tell me {text}", answer)
    for number, following in zip(words.DIGITS, (*words.DIGITS[1:], "ten"), strict=True):
        yield Question(f"what comes after {number}", following)
        yield Question(f"which number follows {number}", following)
    for day, following in zip(words.DAYS, (*words.DAYS[1:], words.DAYS[0]), strict=True):
        yield Question(f"what comes after {day}", following)
        yield Question(f"which day follows {day}", following)


GENERAL = tuple(_general())
_BY_SPLIT = {
    split: tuple(question for question in GENERAL if split_of(question.text) == split)
    for split in ("train", "validation", "test")
}


def some_question(rng: np.random.Generator, split: Split) -> Question:
    """A question of general knowledge that belongs to ``split``."""
    questions = _BY_SPLIT[split]
    return questions[int(rng.integers(len(questions)))]


def about(thing: Thing, rng: np.random.Generator) -> Question:
    """A question about a picture that shows ``thing``."""
    topic = "colour" if rng.random() < 0.35 else thing.kind
    ways = ABOUT_PICTURES[topic]
    return Question(ways[int(rng.integers(len(ways)))], thing.colour if topic == "colour" else thing.name)
