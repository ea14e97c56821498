"""Media for a trace that has none: shares and sizes, drawn by a seed. The shares are assumptions to be varied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autoscaler.replay.trace import Arrival
from trichord.checkpoint.presets import PRESETS
from trichord.media.slicing import plan_slices

SIZES = (
    "224x224 336x336 480x640 512x512 600x600 640x480 650x650 800x600 930x620 960x720 720x960 720x1280 720x1480 "
    "1480x720 1024x768 1024x1024"
)
"""Of images, in pixels; all equally likely."""

IMAGE_COUNTS = {1: 0.70, 2: 0.15, 3: 0.05, 4: 0.05, 5: 0.0125, 6: 0.0125, 7: 0.0125, 8: 0.0125}
"""How many images a request with images has, and how often."""

MEDIAN_AUDIO_S, SIGMA_AUDIO, MAX_AUDIO_S = 8.0, 0.9, 120.0
"""A clip's length is log-normal, and cut."""


@dataclass(frozen=True)
class Mix:
    """Shares of requests; the rest is text only."""

    images: float = 0.35
    """With images and no sound."""
    audio: float = 0.10
    """With one clip and no image."""
    both: float = 0.05

    def onto(self, texts: Iterable[Arrival], seed: int) -> list[Arrival]:
        """The same requests with media; equal for equal seeds."""
        random, tiles_of = np.random.default_rng(seed), _tiles()
        return [self._with_media(text, random, tiles_of) for text in texts]

    def _with_media(self, text: Arrival, random: np.random.Generator, tiles_of: list[int]) -> Arrival:
        draw = random.random()
        has_images = draw < self.images + self.both
        has_audio = self.images <= draw < self.images + self.both + self.audio
        images = int(random.choice(list(IMAGE_COUNTS), p=list(IMAGE_COUNTS.values()))) if has_images else 0
        tiles = int(random.choice(tiles_of, images).sum()) if images else 0
        audio_s = min(MAX_AUDIO_S, float(random.lognormal(np.log(MEDIAN_AUDIO_S), SIGMA_AUDIO))) if has_audio else 0.0
        return text._replace(images=images, tiles=tiles, audio_s=audio_s)


def _tiles() -> list[int]:
    config = PRESETS["megrez-3b-omni"]
    sizes = [tuple(map(int, size.split("x"))) for size in SIZES.split()]
    return [plan_slices(width, height, config.slicing, config.vision.patch_size).num_tiles for width, height in sizes]
