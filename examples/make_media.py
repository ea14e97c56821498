"""Makes the demo's media: a rendered sign, and what is spoken. Run it again after changing a text.

The font and the voice are none that the default model was trained with.

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

SIGN, SIGN_SIZE, LETTERS_PX = "7", (640, 420), 340
VOICE = "en-gb+f4"
SPOKEN = {
    "sentence": "the clever fox carried seven golden keys yesterday",
    "question": "which city is the capital of france",
    "colour": "what colour is this",
}


def render_sign(path: Path) -> None:
    """Writes the sign of a platform: its number, white on green."""
    width, height = SIGN_SIZE
    sign = Image.new("RGB", SIGN_SIZE, "#1f9a4a")
    font = ImageFont.load_default(LETTERS_PX)
    ImageDraw.Draw(sign).text((width / 2, height / 2), SIGN, fill="white", font=font, anchor="mm")
    sign.save(path, optimize=True)


def speak(text: str, path: Path) -> None:
    """Writes a text as the model hears it: mono, 16 kHz, 16 bits."""
    argv = ["espeak-ng", "-v", VOICE, "-s", "150", "--stdout", text]
    spoken = subprocess.run(argv, check=True, capture_output=True).stdout  # noqa: S603 - our own words
    samples, sample_rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    resampled = np.clip(soxr.resample(samples, sample_rate, SAMPLE_RATE), -1.0, 1.0)
    soundfile.write(path, resampled, SAMPLE_RATE, subtype="PCM_16")


if __name__ == "__main__":
    MEDIA.mkdir(exist_ok=True)
    render_sign(MEDIA / "sign.png")
    for name, text in SPOKEN.items():
        speak(text, MEDIA / f"{name}.flac")
