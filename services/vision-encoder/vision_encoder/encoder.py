"""The whole vision module: tiles of raw pixels in, embedding rows out, and how it is loaded.

Tiles of one shape run together, whichever request they belong to; a tile's rows do not depend on its company beyond
rounding. Knows nothing of images, requests or Triton.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from trichord.checkpoint.layout import PREFIXES
from trichord.checkpoint.weights import load_into
from trichord.media.slicing import TileShape
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings
from vision_encoder.positions import position_ids
from vision_encoder.resampler import Resampler
from vision_encoder.tower import CHANNELS, VisionTower

MIDDLE = 127.5
"""Pixel values 0..255 become (x - 127.5) / 127.5: in [-1, 1], and x - 127.5 is exact in bfloat16."""

MAX_TILES_PER_PASS = 8
"""Tiles that run at once: about 8 000 patches fill any device, and bound the memory of activations."""


class VisionEncoder(nn.Module):
    """Tower (``vpm``) and resampler."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        vision = config.vision
        self.vpm = VisionTower(vision)
        self.resampler = Resampler(config.resampler, vision_size=vision.hidden_size, hidden_size=config.llm.hidden_size)
        self.positions_per_side = vision.positions_per_side
        self.patch_values = CHANNELS * vision.patch_size**2

    def forward(self, patches: Tensor, shapes: Sequence[TileShape]) -> list[Tensor]:
        """Rows [queries, hidden] of each tile, in order.

        ``patches`` uint8 [sum of height * width, 3 * patch * patch]: tile after tile, row-major in each, a patch
        flattened from [3, patch, patch]; ``shapes``: of each tile, in patches.
        """
        tiles = torch.split(patches, [shape.height * shape.width for shape in shapes])
        rows: dict[int, Tensor] = {}
        for shape, members in passes(shapes):
            encoded = self._encode(torch.stack([tiles[index] for index in members]), shape)
            rows.update(zip(members, encoded, strict=True))
        return [rows[index] for index in range(len(tiles))]

    def _encode(self, tiles: Tensor, shape: TileShape) -> Tensor:
        """uint8 [N, L, 3 * patch * patch] to [N, queries, hidden]."""
        weight = self.resampler.proj
        pixels = (tiles.to(weight.device, weight.dtype) - MIDDLE) / MIDDLE
        positions = torch.tensor(position_ids(*shape, self.positions_per_side), device=weight.device)
        states = self.vpm(pixels, positions)
        return self.resampler(states, *shape)  # type: ignore[no-any-return]


def load(settings: ModelSettings, device: str) -> VisionEncoder:
    """The vision module of a checkpoint, ready to run on ``device``.

    Raises CheckpointError naming the tensor that is wrong.
    """
    config = ModelConfig.read(settings.checkpoint)
    with torch.device("meta"):
        encoder = VisionEncoder(config)
    load_into(encoder, settings.checkpoint, PREFIXES["vision"], getattr(torch, settings.dtype or config.dtype))
    return encoder.eval().requires_grad_(False).to(device)


def passes(shapes: Sequence[TileShape]) -> Iterator[tuple[TileShape, list[int]]]:
    """The passes over tiles of those shapes: the shape of each, and the indices of its tiles."""
    groups = defaultdict(list)
    for index, shape in enumerate(shapes):
        groups[shape].append(index)
    for shape, members in groups.items():
        for start in range(0, len(members), MAX_TILES_PER_PASS):
            yield shape, members[start : start + MAX_TILES_PER_PASS]
