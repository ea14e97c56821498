"""A vision encoder that only waits: the shapes and the batching of the real one, seeded rows, no weights.

Takes ``VisionEncoder``'s place behind ``batch``. Knows no Triton.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trichord.media.slicing import TileShape
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings
from trichord.simulation import profile
from trichord.simulation.latency import VisionLatency
from trichord.simulation.rows import seeded_rows
from vision_encoder.packing import PATCHES_PER_PASS, passes
from vision_encoder.tower import CHANNELS


class SimulatedEncoder:
    """Waits as long as ``latency`` says for each pass."""

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype,
        latency: VisionLatency,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.patch_values = CHANNELS * config.vision.patch_size**2
        self._rows = config.resampler.num_queries, config.llm.hidden_size
        self._dtype, self._latency, self._sleep = dtype, latency, sleep

    def __call__(self, patches: Tensor, shapes: Sequence[TileShape]) -> list[Tensor]:
        """See ``VisionEncoder.forward``; the rows of equal tiles are equal."""
        for members in passes(shapes, PATCHES_PER_PASS):
            self._sleep(self._latency.pass_s(len(members)))
        tiles = torch.split(patches, [shape.height * shape.width for shape in shapes])
        seeded = (seeded_rows(tile.numpy().tobytes(), *self._rows) for tile in tiles)
        return [torch.from_numpy(rows).to(self._dtype) for rows in seeded]


def load(settings: ModelSettings) -> SimulatedEncoder:
    """The simulated vision module of a checkpoint, of which only the config is read.

    Raises CheckpointError or SettingsError.
    """
    config = ModelConfig.read(settings.checkpoint)
    dtype = getattr(torch, settings.dtype or config.dtype)
    return SimulatedEncoder(config, dtype, profile.told(settings).vision)
