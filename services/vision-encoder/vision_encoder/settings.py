"""What the vision front is told by its environment (``TRICHORD_VISION_*``)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trichord.settings import FrontSettings
from vision_encoder.image import ImageLimits

MIB = 1024 * 1024


class VisionSettings(FrontSettings):
    """Settings of ``python -m vision_encoder``."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_VISION_")

    max_image_bytes: int = Field(20 * MIB, gt=0, description="Largest image file in bytes.")
    max_image_pixels: int = Field(
        24_000_000, gt=0, description="Largest width * height. A 12 KB file can hold 100 million pixels of one colour."
    )
    max_aspect_ratio: float = Field(
        100.0, ge=1, description="Largest ratio of the sides: beyond it a tile is a strip of one or two patches."
    )
    decode_workers: int = Field(2, ge=1, le=64, description="Images decoded at once; more wait.")
    decode_memory_bytes: int = Field(
        1024 * MIB, gt=0, description="Memory in bytes that decoding may take, all images together; more wait."
    )

    @property
    def limits(self) -> ImageLimits:
        """What one image may cost."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, self.max_aspect_ratio)
