"""What is said: short, of a vocabulary that is known, and about what it asks."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trichord_training import examples, lexicon, questions
from trichord_training.clips import Clip, some_text
from trichord_training.examples import Teacher
from trichord_training.pictures import COLOURS, Thing
from trichord_training.sentences import MAX_WORDS, some_digits, some_sentence
from trichord_training.splits import SPLITS, Split
from trichord_training.spoken_vocabulary import spoken_words

seeds = st.integers(0, 2**32 - 1)
splits = st.sampled_from(SPLITS)


@given(seeds, splits)
def test_a_text_is_of_few_known_words(seed: int, split: Split) -> None:
    rng = np.random.default_rng(seed)
    for text in (some_text(rng, split) for _ in range(10)):
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", text), text
        assert set(text.split()) <= spoken_words(), text


@given(seeds, splits)
def test_a_sentence_has_two_to_eight_words(seed: int, split: Split) -> None:
    assert 2 <= len(some_sentence(np.random.default_rng(seed), split).split()) <= MAX_WORDS == 8


@given(seeds, splits)
def test_digits_are_one_to_six_words(seed: int, split: Split) -> None:
    words = some_digits(np.random.default_rng(seed), split).split()
    assert 1 <= len(words) <= 6
    assert set(words) <= {*lexicon.DIGITS}


def test_about_five_hundred_words_are_really_said() -> None:
    rng = np.random.default_rng(0)
    said = Counter(word for _ in range(6000) for word in some_sentence(rng, "train").split())
    assert 450 <= len(said) <= len(spoken_words())


def test_no_word_stands_twice_among_what_it_can_stand_for() -> None:
    groups = {name: list(words) for name, words in vars(lexicon).items() if name.isupper()}
    assert {name for name, words in groups.items() if len(words) != len(set(words))} == set()


def test_no_question_is_asked_twice_or_answered_two_ways() -> None:
    counted = Counter(question.text for question in questions.GENERAL)
    assert max(counted.values()) == 1
    assert questions.OPPOSITES["hot"] == "cold"
    assert {question.answer for question in questions.GENERAL if "comes after sunday" in question.text} == {"monday"}
    assert {question.answer for question in questions.GENERAL if "comes after nine" in question.text} == {"ten"}


@given(seeds)
def test_a_question_about_a_picture_is_answered_by_the_thing(seed: int) -> None:
    thing = Thing("number", "472", "red")
    question = questions.about(thing, np.random.default_rng(seed))
    asks_colour = question.text in questions.ABOUT_PICTURES["colour"]
    assert question.answer == ("red" if asks_colour else "472")
    assert asks_colour or question.text in questions.ABOUT_PICTURES["number"]


def test_questions_are_written_as_people_write() -> None:
    assert examples.as_written("what colour is this") == "What colour is this?"
    assert examples.as_written("please read the sign") == "Please read the sign."


def clips() -> list[Clip]:
    texts = [
        "the dog slept",
        questions.GENERAL[0].text,
        *(way for ways in questions.ABOUT_PICTURES.values() for way in ways),
    ]
    return [Clip(text, np.zeros(10, np.int16)) for text in texts]


@given(seeds, splits)
def test_an_example_answers_what_its_parts_show(seed: int, split: Split) -> None:
    teacher, rng = Teacher(clips(), split), np.random.default_rng(seed)
    picture = teacher.example("picture", rng)
    (thing,) = (part for part in picture.parts if isinstance(part, Thing))
    assert picture.answer in {thing.colour, thing.name, examples.description(thing)}

    two = teacher.example("pictures", rng)
    assert two.answer == " and ".join(part.name for part in two.parts if isinstance(part, Thing))

    question = teacher.example("picture_question", rng)
    (shown,) = (part for part in question.parts if isinstance(part, Thing))
    (asked,) = (part.text for part in question.parts if isinstance(part, Clip))
    assert question.answer == (shown.colour if asked in questions.ABOUT_PICTURES["colour"] else shown.name)
    assert asked in questions.ABOUT_PICTURES["colour"] + questions.ABOUT_PICTURES[shown.kind]


@given(seeds)
def test_what_is_repeated_is_the_clip_that_was_given(seed: int) -> None:
    teacher, rng = Teacher(clips(), "train"), np.random.default_rng(seed)
    example = teacher.example("sound", rng, clips()[0])
    assert example.answer == "the dog slept"
    assert sum(part in examples.REPEAT for part in example.parts if isinstance(part, str)) == 1
    blind = teacher.example("blind", rng)
    assert (blind.answer, len(blind.parts)) == (examples.NOTHING_THERE, 1)
    asked = teacher.example("question", rng)
    assert asked.answer == questions.GENERAL[0].answer


def test_a_thing_is_described_in_a_few_words() -> None:
    assert examples.description(Thing("shape", "ring", "blue")) == "a blue ring"
    assert examples.description(Thing("number", "7", "red")) == "the number 7 in red"
    assert examples.description(Thing("word", "STOP", "red")) == "the word STOP in red"
    assert set(COLOURS) >= {"blue", "red"}
