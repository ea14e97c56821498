"""What the language model is taught to say of media: conversations of one question, and the answer.

An example is drawn by its index, so that a run that goes on sees what it would have seen. Knows no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trichord_training import questions
from trichord_training.clips import Clip
from trichord_training.pictures import Difficulty, Thing, some_thing
from trichord_training.splits import Split

Lesson = Literal["picture", "pictures", "sound", "question", "picture_question", "blind"]

REPEAT = (
    "Repeat what was said.", "Write down what you hear.", "What was said?", "Transcribe the sound.",
    "What does the speaker say?",
)  # fmt: skip
ANSWER_IT = ("", "", "Answer the question.", "Answer the spoken question.")
COMPARED = (
    "What numbers are in the pictures?",
    "Which numbers do the two pictures show?",
    "Read both pictures in order.",
)
DESCRIBE = ("What is in the picture?", "Describe the picture.", "What do you see?")
IN_PICTURES: Mapping[str, tuple[str, ...]] = {
    "colour": ("What colour is it?", "Which colour is the thing in the picture?"),
    "shape": ("What shape is in the picture?", "Which shape is it?"),
    "number": ("What number is in the picture?", "Which number do you see?", "Read the number."),
    "word": ("What does the sign say?", "Read the sign.", "What is written in the picture?"),
}
"""Written questions beside those that are also spoken."""
NOTHING_THERE = "There is no picture."


@dataclass(frozen=True)
class Example:
    """A user's message, in order, and the answer."""

    parts: tuple[str | Thing | Clip, ...]
    answer: str


def as_written(question: str) -> str:
    """A spoken question as people write it."""
    return question[0].upper() + question[1:] + ("." if question.startswith("please") else "?")


def description(thing: Thing) -> str:
    """A thing in a few words."""
    if thing.kind == "shape":
        return f"a {thing.colour} {thing.name}"
    return (
        f"the number {thing.name} in {thing.colour}"
        if thing.kind == "number"
        else f"the word {thing.name} in {thing.colour}"
    )


class Teacher:
    """Makes examples, from recordings too."""

    def __init__(self, clips: Sequence[Clip], split: Split) -> None:
        self._split: Split = split
        answers = {question.text: question.answer for question in questions.GENERAL}
        topics = {way: topic for topic, ways in questions.ABOUT_PICTURES.items() for way in ways}
        self._clips = clips
        self._questions = [(clip, answers[clip.text]) for clip in clips if clip.text in answers]
        self._about = [(clip, topics[clip.text]) for clip in clips if clip.text in topics]

    def example(self, lesson: Lesson, rng: np.random.Generator, clip: Clip | None = None) -> Example:
        """An example of a lesson; ``clip`` is what is to be repeated."""
        match lesson:
            case "picture":
                return self._picture(rng)
            case "pictures":
                return self._pictures(rng)
            case "sound":
                chosen = clip or self._clips[int(rng.integers(len(self._clips)))]
                return Example(_either_order(rng, chosen, _one(rng, REPEAT)), chosen.text)
            case "question":
                spoken, answer = self._questions[int(rng.integers(len(self._questions)))]
                return Example(_either_order(rng, spoken, _one(rng, ANSWER_IT)), answer)
            case "picture_question":
                return self._picture_question(rng)
            case "blind":
                topic = _one(rng, tuple(IN_PICTURES))
                ways = (*IN_PICTURES[topic], *map(as_written, questions.ABOUT_PICTURES[topic]))
                return Example((_one(rng, ways),), NOTHING_THERE)

    def _picture(self, rng: np.random.Generator) -> Example:
        thing = some_thing(rng, self._split, Difficulty())
        if rng.random() < 0.12:
            return Example(_either_order(rng, thing, _one(rng, DESCRIBE)), description(thing))
        topic = "colour" if rng.random() < 0.35 else thing.kind
        ways = (*IN_PICTURES[topic], *map(as_written, questions.ABOUT_PICTURES[topic]))
        return Example(_either_order(rng, thing, _one(rng, ways)), _answer(thing, topic))

    def _pictures(self, rng: np.random.Generator) -> Example:
        things: list[Thing] = []
        while len(things) < 2:
            thing = some_thing(rng, self._split, Difficulty(long=0.5))
            if thing.kind == "number":
                things.append(thing)
        answer = " and ".join(thing.name for thing in things)
        return Example((*things, _one(rng, COMPARED)), answer)

    def _picture_question(self, rng: np.random.Generator) -> Example:
        while True:
            thing = some_thing(rng, self._split, Difficulty())
            spoken, topic = self._about[int(rng.integers(len(self._about)))]
            if topic in ("colour", thing.kind):
                return Example(_either_order(rng, thing, spoken), _answer(thing, topic))


def _answer(thing: Thing, topic: str) -> str:
    return thing.colour if topic == "colour" else thing.name


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _either_order(rng: np.random.Generator, *parts: str | Thing | Clip) -> tuple[str | Thing | Clip, ...]:
    said = tuple(part for part in parts if part != "")
    return said if rng.random() < 0.6 else said[::-1]
