"""What is said: sentences of a small grammar, strings of digits, commands and questions.

A sentence is in one set only, by its own text; single words and digits are few and are in all of them. Knows no voice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trichord_training import lexicon as words
from trichord_training.splits import Split, split_of

MAX_WORDS = 8

Rng = np.random.Generator


def some_sentence(rng: Rng, split: Split) -> str:
    """A sentence of two to eight words that belongs to ``split``; lower case, no punctuation."""
    while True:
        text = _FORMS[int(rng.choice(len(_FORMS), p=_SHARES))](rng)
        if len(text.split()) <= MAX_WORDS and split_of(text) == split:
            return text


def some_digits(rng: Rng, split: Split) -> str:
    """One to six spoken digits; of several, the string belongs to ``split``."""
    while True:
        count = int(rng.integers(1, 7))
        text = " ".join(_one(rng, words.DIGITS) for _ in range(count))
        if count == 1 or split_of(text) == split:
            return text


def _one(rng: Rng, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _maybe(rng: Rng, share: float, choices: Sequence[str]) -> str:
    return _one(rng, choices) + " " if rng.random() < share else ""


def _actor(rng: Rng) -> str:
    return f"the {_maybe(rng, 0.35, _QUALITIES)}{_one(rng, _ACTORS)}"


def _object(rng: Rng) -> str:
    if rng.random() < 0.25:
        return f"{_one(rng, words.NUMBERS)} {_maybe(rng, 0.4, words.COLOURS)}{_one(rng, PLURALS)}"
    return f"{_one(rng, _OWNERS)} {_maybe(rng, 0.45, _QUALITIES)}{_one(rng, _OBJECTS)}"


def _place(rng: Rng) -> str:
    return f"{_one(rng, words.PREPOSITIONS)} the {_maybe(rng, 0.2, _QUALITIES)}{_one(rng, words.PLACES)}"


def _deed(rng: Rng) -> str:
    return f"{_actor(rng)} {_one(rng, words.VERBS)} {_object(rng)}"


def _long_deed(rng: Rng) -> str:
    return f"{_actor(rng)} {_one(rng, words.VERBS)} {_object(rng)} {_place(rng)}"


def _timed_deed(rng: Rng) -> str:
    return f"{_actor(rng)} {_one(rng, words.VERBS)} {_object(rng)} {_one(rng, words.TIMES)}"


def _state(rng: Rng) -> str:
    return f"{_actor(rng)} {_one(rng, words.INTRANSITIVE)} {_maybe(rng, 0.3, words.TIMES)}{_place(rng)}"


def _being(rng: Rng) -> str:
    return f"the {_one(rng, _OBJECTS)} is {_one(rng, ('very', 'too', 'not'))} {_one(rng, words.ADJECTIVES)}"


def _command(rng: Rng) -> str:
    command = f"{_maybe(rng, 0.4, ('please',))}{_one(rng, words.COMMANDS)} {_object(rng)}"
    return f"{command} {_maybe(rng, 0.3, words.TIMES)}".strip()


def _question(rng: Rng) -> str:
    return f"{_one(rng, ('where is', 'who has', 'who wants', 'what is near', 'when did you see'))} {_object(rng)}"


def _date(rng: Rng) -> str:
    return f"{_actor(rng)} {_one(rng, words.INTRANSITIVE)} on {_one(rng, words.DAYS)} in {_one(rng, words.MONTHS)}"


def _picture(rng: Rng) -> str:
    colour = _one(rng, words.COLOURS)
    return f"{'an' if colour == 'orange' else 'a'} {colour} {_one(rng, words.SHAPES)} {_place(rng)}"


_OWNERS = ("the", "the", "my", "your")
_ACTORS = (*words.PEOPLE, *words.ANIMALS)
_OBJECTS = (*words.THINGS, *words.FOODS, *words.ANIMALS)
_QUALITIES = (*words.ADJECTIVES, *words.COLOURS)
PLURALS = tuple(
    f"{thing}s"
    for thing in (*words.THINGS, *words.ANIMALS[:16])
    if not thing.endswith(("s", "x", "sh", "ch", "fe", "f", "sheep", "goose", "y"))
)

FUNCTION_WORDS = (
    "the", "my", "your", "a", "an", "is", "very", "too", "not", "please", "where", "who", "has", "wants", "what",
    "near", "when", "did", "you", "see", "on", "in",
)  # fmt: skip
"""Words of the sentences' forms themselves."""

_FORMS: tuple[Callable[[Rng], str], ...] = (
    _deed, _long_deed, _timed_deed, _state, _being, _command, _question, _date, _picture,
)  # fmt: skip
_SHARES = np.array([22, 12, 14, 16, 10, 10, 6, 6, 4]) / 100
