"""The example image and sound, each time with one value changed: a store of embeddings has never seen them."""

from __future__ import annotations

import io
import itertools
import time
from pathlib import Path

import soundfile
from PIL import Image

from trichord.client import audio, image
from trichord.v1 import gateway_pb2

MEDIA = Path(__file__).parents[1] / "examples" / "media"

_numbers = itertools.count(time.time_ns())
"""Unlike those of a run before, as far as 24 bits tell."""


def new_picture() -> gateway_pb2.Part:
    """``sign.png`` with a first pixel of its own."""
    with Image.open(MEDIA / "sign.png") as opened:
        picture = opened.convert("RGB")
    number = next(_numbers)
    picture.putpixel((0, 0), (number & 255, number >> 8 & 255, number >> 16 & 255))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return image(file.getvalue())


def new_sound() -> gateway_pb2.Part:
    """``sentence.flac`` with two first samples of its own."""
    samples, rate = soundfile.read(MEDIA / "sentence.flac", dtype="int16")
    number = next(_numbers)
    samples[:2] = number & 0xFFF, number >> 12 & 0xFFF
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return audio(file.getvalue())
