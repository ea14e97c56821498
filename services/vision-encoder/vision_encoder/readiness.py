"""Whether the encoder can serve: its model is loaded, and has encoded an image once.

Knows nothing of health services; it is a ``trichord.server.Probe``.
"""

from __future__ import annotations

import io

from PIL import Image

from trichord.triton.client import TritonClient
from vision_encoder.front import MODEL, VisionFront

FIRST_IMAGE_TIMEOUT_S = 120.0
"""The first pass of a model is its slowest: memory is touched and kernels are chosen."""


class Readiness:
    """The probe of one encoder."""

    def __init__(self, front: VisionFront, triton: TritonClient) -> None:
        self._front, self._triton = front, triton
        self._has_encoded = False

    async def __call__(self) -> bool:
        """Whether an image would be encoded now. Raises what encoding raises."""
        if not await self._triton.model_ready(MODEL):
            return False
        if not self._has_encoded:
            await self._front.encode(_white_pixel(), FIRST_IMAGE_TIMEOUT_S)
            self._has_encoded = True
        return True


def _white_pixel() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(file, "PNG")
    return file.getvalue()
