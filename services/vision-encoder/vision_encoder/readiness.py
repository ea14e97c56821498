"""Whether the encoder can serve: its model is loaded, and has encoded an image.

Knows nothing of health services.
"""

from __future__ import annotations

import io
from functools import partial

from PIL import Image

from trichord.readiness import Readiness
from trichord.triton.client import TritonClient
from vision_encoder.front import MODEL, VisionFront

FIRST_IMAGE_TIMEOUT_S = 120.0
"""For the first image of a large tower on a CPU."""


def readiness(front: VisionFront, triton: TritonClient) -> Readiness:
    """The probe of one encoder."""
    return Readiness(
        partial(triton.model_ready, MODEL), partial(front.encode, _white_pixel(), timeout_s=FIRST_IMAGE_TIMEOUT_S)
    )


def _white_pixel() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(file, "PNG")
    return file.getvalue()
