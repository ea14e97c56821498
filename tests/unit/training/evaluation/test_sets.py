"""Samples: the same each time, held out, balanced, and files as a client would send them."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import pytest
import soundfile
from PIL import Image

from trichord.errors import TrainingError
from trichord_training import pictures, speech
from trichord_training.evaluation import rendering
from trichord_training.evaluation.prompts import PROMPTS
from trichord_training.evaluation.sets import SETS
from trichord_training.pictures import COLOURS, SHAPES, WORDS
from trichord_training.questions import GENERAL
from trichord_training.replay import PROMPTS as REPLAYED
from trichord_training.speech import VARIANTS, Voice
from trichord_training.splits import Split, split_of

PICTURES = ("shape", "colour", "digit", "number", "sign", "two-images", "image-question")
SOUNDS = ("speech", "spoken-digits", "spoken-question", "image-question")
NAMES = tuple(SETS)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_named_by_seed_split_and_index(name: str) -> None:
    sample = SETS[name].sample(3, "test", 5)
    assert SETS[name].sample(3, "test", 5) == sample
    others = [SETS[name].sample(4, "test", 5), SETS[name].sample(3, "validation", 5), SETS[name].sample(3, "test", 6)]
    media = [(other.images, other.sound) for other in (sample, *others)]
    assert len(set(media)) == 4


@pytest.mark.parametrize("name", NAMES)
def test_a_draft_tells_what_its_sample_asks(name: str) -> None:
    draft, sample = SETS[name].draft(0, "test", 7), SETS[name].sample(0, "test", 7)
    assert (sample.question, sample.expected) == (draft.question, draft.expected)
    assert (len(sample.images), sample.sound is not None) == (len(draft.things), bool(draft.spoken))
    assert (bool(sample.images), sample.sound is not None) == (name in PICTURES, name in SOUNDS)


def test_no_two_sets_show_the_same() -> None:
    first = [SETS[name].sample(0, "test", 0).images for name in PICTURES]
    assert len(set(first)) == len(PICTURES)


@pytest.mark.parametrize(
    ("name", "answers"),
    [("shape", SHAPES), ("colour", tuple(COLOURS)), ("digit", tuple("0123456789")), ("sign", WORDS)],
)
def test_names_are_balanced(name: str, answers: tuple[str, ...]) -> None:
    drafts = [SETS[name].draft(0, "test", index) for index in range(3 * len(answers))]
    assert Counter(draft.expected for draft in drafts) == dict.fromkeys(answers, 3)


@pytest.mark.parametrize(("name", "lengths"), [("number", (2, 3, 4)), ("spoken-digits", (1, 2, 3, 4, 5, 6))])
def test_lengths_are_balanced(name: str, lengths: tuple[int, ...]) -> None:
    drafts = [SETS[name].draft(0, "test", index) for index in range(4 * len(lengths))]
    sizes = [len(draft.spoken.split() or draft.expected) for draft in drafts]
    assert Counter(sizes) == dict.fromkeys(lengths, 4)


def test_the_answer_is_what_is_shown() -> None:
    for index in range(40):
        shape, colour = SETS["shape"].draft(0, "test", index), SETS["colour"].draft(0, "test", index)
        assert shape.expected == shape.things[0].name
        assert colour.expected == colour.things[0].colour
        both = SETS["two-images"].draft(0, "test", index)
        first, second = (thing.name for thing in both.things)
        assert first != second
        assert both.expected == f"{first} and {second}"


@pytest.mark.parametrize("split", ["test", "validation"])
def test_texts_are_held_out(split: Split) -> None:
    for index in range(60):
        assert split_of(SETS["number"].draft(0, split, index).expected) == split
        assert split_of(SETS["speech"].draft(0, split, index).expected) == split
        assert split_of(SETS["spoken-question"].draft(0, split, index).spoken) == split
        digits = SETS["spoken-digits"].draft(0, split, index).expected
        assert " " not in digits or split_of(digits) == split


def test_spoken_questions_have_their_own_answers() -> None:
    answers = {question.text: question.answer for question in GENERAL}
    drafts = [SETS["spoken-question"].draft(0, "test", index) for index in range(40)]
    assert [draft.expected for draft in drafts] == [answers[draft.spoken] for draft in drafts]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_fonts_and_voices_are_the_splits(monkeypatch: pytest.MonkeyPatch, split: Split) -> None:
    fonts, voices = set(), set()

    def font_files(asked: Split) -> Any:
        fonts.add(asked)
        return original(asked)

    def speak(text: str, voice: Voice) -> Any:
        voices.add(voice.variant)
        return speech.speak(text, voice)

    original = pictures.font_files
    monkeypatch.setattr(pictures, "font_files", font_files)
    monkeypatch.setattr(rendering, "speak", speak)
    for index in range(6):
        SETS["sign"].sample(0, split, index)
        SETS["spoken-digits"].sample(0, split, index)
    assert fonts == {split}
    assert voices <= set(VARIANTS[split])
    assert not voices & set(VARIANTS["train"])


def test_pictures_are_png_files_larger_than_a_tile() -> None:
    sizes = []
    for index in range(12):
        for data in SETS["two-images"].sample(0, "test", index).images:
            image = Image.open(io.BytesIO(data))
            assert (image.format, image.mode) == ("PNG", "RGB")
            sizes.append(image.size)
    assert all(224 <= width <= 480 and 0.99 <= width / height <= 2.02 for width, height in sizes)
    assert len(set(sizes)) > 20


def test_sounds_are_wav_files_that_speak() -> None:
    data = SETS["speech"].sample(0, "test", 0).sound
    assert data is not None
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert (file.format, file.subtype, file.samplerate, file.channels) == ("WAV", "PCM_16", 16_000, 1)
        assert 0.5 < file.frames / file.samplerate < 15
        assert abs(file.read()).max() > 0.01


def test_without_a_voice_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech.shutil, "which", lambda name: None)
    with pytest.raises(TrainingError, match="espeak-ng"):
        SETS["speech"].sample(0, "test", 0)


def test_the_prompts_of_text_are_fifty_and_not_replayed() -> None:
    assert len(set(PROMPTS)) == 50
    assert not set(PROMPTS) & set(REPLAYED)
