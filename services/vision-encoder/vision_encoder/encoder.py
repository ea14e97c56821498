"""The whole vision module: tiles of raw pixels in, embedding rows out, and how it is loaded.

Tiles of all shapes run together, whichever request they belong to, and on a GPU few of them padded to one length; a
tile's rows do not depend on its company beyond rounding. Knows nothing of images, requests or Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn

from trichord.checkpoint.layout import PREFIXES
from trichord.checkpoint.weights import load_into
from trichord.cuda_graphs import Capture, capture_for
from trichord.media.slicing import TileShape
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings
from vision_encoder.packing import PATCHES_PER_PASS, passes
from vision_encoder.positions import position_ids
from vision_encoder.recorded import RecordedPasses
from vision_encoder.resampler import Resampler
from vision_encoder.tower import CHANNELS, VisionTower, normalised


class VisionEncoder(nn.Module):
    """Tower (``vpm``) and resampler."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision = config.vision
        self.vpm = VisionTower(vision)
        self.resampler = Resampler(config.resampler, vision_size=vision.hidden_size, hidden_size=config.llm.hidden_size)
        self.positions_per_side = vision.positions_per_side
        self.patch_values = CHANNELS * vision.patch_size**2
        self._config = config
        self._recorded: RecordedPasses | None = None

    def record(self, capture: Capture) -> None:
        """Records passes over few tiles, for which these are padded; the weights stay as and where they are."""
        self._recorded = RecordedPasses(self.vpm, self.resampler, self._config, capture)

    def forward(self, patches: Tensor, shapes: Sequence[TileShape]) -> list[Tensor]:
        """Rows [queries, hidden] of each tile, in order.

        ``patches`` uint8 [sum of height * width, 3 * patch * patch]: tile after tile, row-major in each, a patch
        flattened from [3, patch, patch]; ``shapes``: of each tile, in patches.
        """
        tiles = torch.split(patches, [shape.height * shape.width for shape in shapes])
        rows: dict[int, Tensor] = {}
        for members in passes(shapes, PATCHES_PER_PASS):
            encoded = self._encode([tiles[index] for index in members], [shapes[index] for index in members])
            rows.update(zip(members, encoded, strict=True))
        return [rows[index] for index in range(len(tiles))]

    def _encode(self, tiles: Sequence[Tensor], shapes: Sequence[TileShape]) -> list[Tensor]:
        """uint8 [L, 3 * patch * patch] of each tile, tiles of one shape side by side, to [queries, hidden] of each."""
        if self._recorded and self._recorded.takes(shapes):
            return self._recorded(tiles, shapes)
        return self._packed(tiles, shapes)

    def _packed(self, tiles: Sequence[Tensor], shapes: Sequence[TileShape]) -> list[Tensor]:
        """The same without padding."""
        weight = self.resampler.proj
        pixels = normalised(torch.cat(list(tiles)).to(weight.device), weight.dtype)  # bytes travel, not numbers
        places = np.concatenate([position_ids(*shape, self.positions_per_side) for shape in shapes])
        lengths = [len(tile) for tile in tiles]
        states = self.vpm(pixels, torch.from_numpy(places).to(weight.device), lengths)
        runs = [(shape, len(list(members))) for shape, members in groupby(shapes)]
        parts = torch.split(states, [shape.height * shape.width * count for shape, count in runs])
        return [
            rows
            for (shape, count), part in zip(runs, parts, strict=True)
            for rows in self.resampler(part.view(count, -1, part.shape[-1]), *shape)
        ]


def load(settings: ModelSettings, device: str) -> VisionEncoder:
    """The vision module of a checkpoint, ready to run on ``device``.

    Raises CheckpointError naming the tensor that is wrong.
    """
    config = ModelConfig.read(settings.checkpoint)
    with torch.device("meta"):
        encoder = VisionEncoder(config)
    load_into(encoder, settings.checkpoint, PREFIXES["vision"], getattr(torch, settings.dtype or config.dtype))
    encoder.eval().requires_grad_(False).to(device)
    if torch.device(device).type == "cuda":
        encoder.record(capture_for(torch.device(device)))
    return encoder
