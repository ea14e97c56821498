"""Recordings to learn from: spoken texts of a set, made once and kept as files of samples.

A clip is named by its seed, set and index, so that a store that was cut short is filled up, not begun anew. Noise is
not in it: that is drawn anew each time a clip is heard. Knows no model.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trichord.errors import TrainingError
from trichord_training.questions import ABOUT_PICTURES, some_question
from trichord_training.sentences import some_digits, some_sentence
from trichord_training.speech import some_voice, speak
from trichord_training.splits import Split, sample_rng

CLIPS_PER_FILE = 500


@dataclass(frozen=True)
class Clip:
    """What was said, and its sound."""

    text: str
    pcm: npt.NDArray[np.int16]
    """Mono, 16 kHz."""


def some_text(rng: np.random.Generator, split: Split) -> str:
    """What a clip says: two thirds sentences, the others digits and questions."""
    form = rng.random()
    if form < 0.66:
        return some_sentence(rng, split)
    if form < 0.84:
        return some_digits(rng, split)
    if form < 0.94:
        return some_question(rng, split).text
    ways = [way for topic in ABOUT_PICTURES.values() for way in topic]
    return ways[int(rng.integers(len(ways)))]


def record(seed: int, split: Split, index: int) -> Clip:
    """The clip of an index."""
    rng = sample_rng(seed, split, index)
    text = some_text(rng, split)
    samples = speak(text, some_voice(rng, split))
    return Clip(text, (samples * 32767).round().clip(-32768, 32767).astype(np.int16))


def write_clips(path: Path, clips: Sequence[Clip]) -> None:
    """Writes a file of clips, whole or not at all."""
    texts = np.frombuffer(json.dumps([clip.text for clip in clips]).encode(), np.uint8)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.savez(
            file,
            texts=texts,
            lengths=np.array([len(clip.pcm) for clip in clips]),
            pcm=np.concatenate([clip.pcm for clip in clips]),
        )
    unfinished.replace(path)


def read_clips(path: Path) -> list[Clip]:
    """The clips of a file. Raises TrainingError if it is broken."""
    try:
        with path.open("rb") as stored, np.load(stored, allow_pickle=False) as file:
            texts, lengths, pcm = json.loads(file["texts"].tobytes()), file["lengths"], file["pcm"]
        return [Clip(text, part) for text, part in zip(texts, np.split(pcm, np.cumsum(lengths)[:-1]), strict=True)]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path.name} is not a file of clips. Remove it: it is made anew.") from error
