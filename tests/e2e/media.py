"""Images and sounds made on the spot: seeded, of any size."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from PIL import Image


def png(width: int, height: int, seed: int = 0) -> bytes:
    """A picture of smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def wav(seconds: float, seed: int = 0, sample_rate: int = 16_000) -> bytes:
    """A few swelling tones."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(int(seconds * sample_rate)) / sample_rate
    tones = [np.sin(2 * np.pi * pitch * time_s) for pitch in generator.uniform(100, 3000, 4)]
    file = io.BytesIO()
    soundfile.write(file, 0.1 * sum(tones) * np.abs(np.sin(time_s)), sample_rate, format="WAV")
    return file.getvalue()
