"""The serving path: gateway, fronts and Tritons, as any client calls them. Knows no weights."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from PIL import Image

from trichord.client import OmniClient, audio, image, user
from trichord.client.parts import Part
from trichord.media.windows import SAMPLE_RATE
from trichord_training.evaluation.asking import MAX_TOKENS, Identity
from trichord_training.evaluation.sample import Sample


class ServedModel:
    """A cluster."""

    def __init__(self, client: OmniClient) -> None:
        self._client = client

    async def identity(self) -> Identity:
        """Which model answers: the fingerprints are those of a blank picture and of silence, encoded for it."""
        served = await self._client.model()
        seen, heard = await self._client.encode(image(_blank())), await self._client.encode(audio(_silence()))
        return Identity(served.model, {"vision": seen.embedding.fingerprint, "audio": heard.embedding.fingerprint})

    async def answer(self, sample: Sample) -> str:
        """See ``Model``."""
        parts: list[Part] = [image(data) for data in sample.images]
        if sample.sound is not None:
            parts.append(audio(sample.sound))
        message = user(*parts, sample.question)
        return (await self._client.answer([message], max_tokens=MAX_TOKENS, temperature=0.0)).text


def _blank() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()


def _silence() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(SAMPLE_RATE // 4, np.float32), SAMPLE_RATE, format="WAV")
    return file.getvalue()
