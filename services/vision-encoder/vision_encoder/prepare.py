"""From a file's bytes to what the model takes, in worker threads that are bounded in number and in memory.

Decoding releases the interpreter's lock, so threads are enough. A call that is cancelled while it waits is dropped; one
that has begun finishes and is forgotten, and holds its worker and its memory until then. Knows no gRPC and no Triton.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from trichord.media.slicing import Size, SlicingPlan, plan_slices
from trichord.model_config import ModelConfig
from trichord.telemetry import names
from trichord.telemetry.turns import turn
from vision_encoder.byte_budget import ByteBudget
from vision_encoder.image import DECODE_BYTES_PER_PIXEL, open_image, to_rgb
from vision_encoder.settings import VisionSettings
from vision_encoder.tiles import Pixels, cut


@dataclass(frozen=True)
class CutImage:
    """An image as the model takes it."""

    size: Size
    """Upright, as it was sent."""
    plan: SlicingPlan
    patches: Pixels
    """uint8 [patches, 3 * patch * patch]."""


@dataclass(frozen=True)
class Prepared:
    """A file's image, and what it took."""

    image: CutImage
    content_sha256: str
    """Hex, of the file's bytes."""
    queue_ms: float
    """Waiting for a worker and for memory."""
    decode_ms: float
    """Decoding and cutting."""


class Preparer:
    """The worker threads of one process."""

    def __init__(self, config: ModelConfig, settings: VisionSettings) -> None:
        self._config, self._limits = config, settings.limits
        self._workers = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
        self._memory = ByteBudget(settings.decode_memory_bytes)

    async def prepare(self, data: bytes) -> Prepared:
        """Decodes and cuts a file's image. Raises MediaError, field "image"."""
        arrived_s, loop = time.perf_counter(), asyncio.get_running_loop()
        with turn("decode", {names.MODALITY: "image"}) as begins:
            return await loop.run_in_executor(self._workers, self._prepare, data, arrived_s, begins)

    def close(self) -> None:
        """Drops what waits, and returns when what has begun is done."""
        self._workers.shutdown(cancel_futures=True)

    def _prepare(self, data: bytes, arrived_s: float, begins: Callable[[], None]) -> Prepared:
        begins()
        with (
            open_image(data, self._limits) as image,
            self._memory.hold(image.width * image.height * DECODE_BYTES_PER_PIXEL),
        ):
            begins()  # a file that is no image has not waited for memory
            started_s = time.perf_counter()
            cut_image = self._cut(image)
        content_sha256 = hashlib.sha256(data).hexdigest()
        decode_ms = 1e3 * (time.perf_counter() - started_s)
        return Prepared(cut_image, content_sha256, 1e3 * (started_s - arrived_s), decode_ms)

    def _cut(self, image: Image.Image) -> CutImage:
        rgb = to_rgb(image)
        plan = plan_slices(*rgb.size, self._config.slicing, self._config.vision.patch_size)
        return CutImage(Size(*rgb.size), plan, cut(rgb, plan))
