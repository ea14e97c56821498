"""From a draft to the files that are sent: pictures far larger than the model's own tile, sounds in noise.

So that everything a client's file goes through is part of what is evaluated: decoding, resizing, slicing, resampling.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
from PIL import Image

from trichord.media.windows import SAMPLE_RATE
from trichord_training.evaluation.drafts import Draft
from trichord_training.pictures import Difficulty, Thing, draw
from trichord_training.speech import some_voice, speak, with_noise
from trichord_training.splits import Split

LONGER_SIDE_PX = (224, 480)
RATIOS = (1.0, 2.0)
"""Width over height: training has seen no upright pictures."""

Rng = np.random.Generator


def picture(thing: Thing, rng: Rng, split: Split) -> bytes:
    """A PNG file of a thing, at full difficulty, in a font of ``split``."""
    width = int(rng.integers(LONGER_SIDE_PX[0], LONGER_SIDE_PX[1] + 1))
    size = (width, round(width / rng.uniform(*RATIOS)))
    file = io.BytesIO()
    Image.fromarray(draw(thing, rng, split, size, Difficulty())).save(file, "PNG", compress_level=1)
    return file.getvalue()


def sound(text: str, rng: Rng, split: Split) -> bytes:
    """A WAV file of a text in a voice of ``split``, louder or quieter, in noise 12 to 45 dB below."""
    samples = with_noise(speak(text, some_voice(rng, split)), rng)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def images_of(draft: Draft, rng: Rng, split: Split) -> tuple[bytes, ...]:
    """The draft's pictures, in order."""
    return tuple(picture(thing, rng, split) for thing in draft.things)


def sound_of(draft: Draft, rng: Rng, split: Split) -> bytes | None:
    """The draft's sound, if it has one."""
    return sound(draft.spoken, rng, split) if draft.spoken else None
