"""Speech by espeak-ng: a text in a voice, at a speed and a pitch, as samples. Knows no grammar and no model.

A voice is an accent with a variant of its sound; variants are never shared between sets.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from trichord.errors import TrainingError
from trichord.media.windows import SAMPLE_RATE
from trichord_training.splits import Split

Samples = npt.NDArray[np.float32]

ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")

VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": (
        "m1", "m2", "m3", "m6", "m7", "m8", "f1", "f2", "f5", "klatt", "klatt2", "klatt4", "adam", "Alex", "Alicia",
        "Andy", "belinda", "benjamin", "boris", "caleb", "david", "Diogo", "ed", "edward", "Gene", "Henrique", "Hugo",
        "iven", "iven2", "john", "kaukovalta", "linda", "marcelo", "Marco", "max", "michael", "Mike", "Nguyen", "pablo",
        "paul", "quincy", "rob", "sandro", "steph", "steph2", "travis", "victor", "zac",
    ),
    "validation": ("m4", "Andrea", "jacky", "robert"),
    "test": ("m5", "f3", "f4", "Annie", "antonio", "Lee", "miguel", "anika"),
}  # fmt: skip
"""Variants of espeak-ng's voices by set; whispers, croaks and robots are left out."""

_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Voice:
    """How a text is spoken."""

    accent: str
    variant: str
    words_per_minute: int
    pitch: int
    """0 to 99; 50 is the variant's own."""


def some_voice(rng: np.random.Generator, split: Split) -> Voice:
    """A voice of a set."""
    variants = VARIANTS[split]
    return Voice(
        accent=ACCENTS[int(rng.integers(len(ACCENTS)))],
        variant=variants[int(rng.integers(len(variants)))],
        words_per_minute=int(rng.integers(130, 191)),
        pitch=int(rng.integers(30, 71)),
    )


def speak(text: str, voice: Voice) -> Samples:
    """The text as float32 samples, mono, 16 kHz. Raises TrainingError if espeak-ng is not there or fails."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise TrainingError("There is no espeak-ng. Install it: make system")
    command = [program, "-v", f"{voice.accent}+{voice.variant}", "-s", str(voice.words_per_minute)]
    spoken = subprocess.run(  # noqa: S603 - words of ours; the text goes through stdin
        [*command, "-p", str(voice.pitch), "--stdin", "--stdout"],
        input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False,
    )  # fmt: skip
    if spoken.returncode or not spoken.stdout:
        raise TrainingError(f"espeak-ng cannot speak as {voice.accent}+{voice.variant}.")
    samples, rate = soundfile.read(io.BytesIO(spoken.stdout), dtype="float32")
    return soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)  # type: ignore[no-any-return]


def with_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """The samples as a microphone might hear them: another loudness, and white or brownish noise 12 to 45 dB below."""
    power = float(np.square(samples).mean()) + 1e-12
    noise = rng.standard_normal(len(samples)).astype(np.float32)
    if rng.random() < 0.5:
        noise = np.convolve(noise, np.ones(8, np.float32) / 8**0.5, "same")
    scale = (power / 10 ** (rng.uniform(12, 45) / 10)) ** 0.5
    loudness = 10 ** (rng.uniform(-12, 3) / 20)
    return np.clip((samples + scale * noise) * loudness, -1, 1).astype(np.float32)  # type: ignore[no-any-return]
