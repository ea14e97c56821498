"""What is learnt, what is watched and what is tested never share a text, a font or a voice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from trichord_training import fonts
from trichord_training.pictures import Difficulty, some_thing
from trichord_training.questions import GENERAL, some_question
from trichord_training.sentences import some_digits, some_sentence
from trichord_training.speech import VARIANTS
from trichord_training.splits import SPLITS, Split, sample_rng, split_of

seeds = st.integers(0, 2**32 - 1)
splits = st.sampled_from(SPLITS)


@given(seeds, splits)
def test_what_is_said_belongs_to_its_set(seed: int, split: Split) -> None:
    rng = np.random.default_rng(seed)
    assert split_of(some_sentence(rng, split)) == split
    assert split_of(some_question(rng, split).text) == split
    digits = some_digits(rng, split)
    assert " " not in digits or split_of(digits) == split


@given(seeds, splits)
def test_numbers_of_several_digits_belong_to_their_set(seed: int, split: Split) -> None:
    rng = np.random.default_rng(seed)
    things = [some_thing(rng, split, Difficulty()) for _ in range(20)]
    long = [thing.name for thing in things if thing.kind == "number" and len(thing.name) > 1]
    assert [number for number in long if split_of(number) != split] == []
    assert [number for number in long if number.startswith("0") or len(number) > 4] == []


def test_a_tenth_is_watched_and_a_tenth_tested() -> None:
    shares = Counter(split_of(f"text {number}") for number in range(10_000))
    assert shares["train"] == pytest.approx(8000, abs=160)
    assert shares["validation"] == pytest.approx(1000, abs=120)


def test_a_text_is_in_the_same_set_on_every_machine() -> None:
    assert [split_of(text) for text in ("472", "73", "the dog slept", "58")] == ["train", "train", "test", "train"]


@given(seeds, splits, st.integers(0, 10**6), st.integers(0, 50))
def test_a_sample_is_the_same_whatever_was_drawn_before(seed: int, split: Split, index: int, drawn: int) -> None:
    first = some_sentence(sample_rng(seed, split, index), split)
    for other in range(drawn):
        some_sentence(sample_rng(seed, "train", other), "train")
    assert some_sentence(sample_rng(seed, split, index), split) == first


def test_samples_differ_by_seed_set_and_index() -> None:
    named: list[tuple[int, Split, int]] = [(0, "train", 0), (1, "train", 0), (0, "train", 1), (0, "test", 0)]
    drawn = {sample_rng(seed, split, index).random() for seed, split, index in named}
    assert len(drawn) == len(named)


def test_voices_are_shared_by_no_two_sets() -> None:
    counted = Counter(variant.lower() for split in SPLITS for variant in VARIANTS[split])
    assert {variant for variant, count in counted.items() if count > 1} == set()
    assert all(VARIANTS.values())


def test_families_of_fonts_are_shared_by_no_two_sets() -> None:
    folders = [fonts.DEBIAN_FONTS / family for family in fonts._FAMILIES]
    files = {split: set(fonts.font_files(split)) for split in ("validation", "test")}
    files["train"] = {path for folder in folders for path in folder.glob("*.[to]tf")}  # none, if they are not installed
    families = {split: {ImageFont.truetype(path, 10).getname()[0] for path in paths} for split, paths in files.items()}
    counted = Counter(family for names in families.values() for family in names)
    assert len(counted) >= 5
    assert {family for family, count in counted.items() if count > 1} == set()


def test_every_set_has_questions() -> None:
    counted = Counter(split_of(question.text) for question in GENERAL)
    assert min(counted[split] for split in SPLITS) >= 5
