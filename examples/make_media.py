"""Makes the demo's media: a rendered sign and a synthesized sentence. Run it again after changing either text.

Needs the speech synthesizer ``espeak-ng`` on PATH (Debian: ``apt-get install espeak-ng``); the demo does not, because
the results are checked in. The font is the one that Pillow carries.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr
from PIL import Image, ImageDraw, ImageFont

MEDIA = Path(__file__).parent / "media"
SAMPLE_RATE = 16_000

SIGN_LINES = (("PLATFORM 9", 96), ("Trains to Berlin", 56))
SIGN_SIZE = (720, 400)
SENTENCE = "The train to Berlin leaves from platform nine at a quarter past seven."


def render_sign(path: Path) -> None:
    """Writes the sign: white letters on blue, a white frame, centred lines."""
    width, height = SIGN_SIZE
    sign = Image.new("RGB", SIGN_SIZE, "#0b3d91")
    draw = ImageDraw.Draw(sign)
    draw.rounded_rectangle((16, 16, width - 16, height - 16), radius=24, outline="white", width=8)
    y = height * 0.36
    for line, size in SIGN_LINES:
        draw.text((width / 2, y), line, fill="white", font=ImageFont.load_default(size), anchor="mm")
        y += height * 0.28
    sign.save(path, optimize=True)


def speak_sentence(path: Path) -> None:
    """Writes the sentence as the model hears it: mono, 16 kHz, 16 bits."""
    argv = ["espeak-ng", "-v", "en-gb", "-s", "150", "--stdout", SENTENCE]
    spoken = subprocess.run(argv, check=True, capture_output=True).stdout  # noqa: S603 - our own words
    samples, sample_rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    resampled = np.clip(soxr.resample(samples, sample_rate, SAMPLE_RATE), -1.0, 1.0)
    soundfile.write(path, resampled, SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    MEDIA.mkdir(exist_ok=True)
    render_sign(MEDIA / "sign.png")
    speak_sentence(MEDIA / "sentence.flac")
