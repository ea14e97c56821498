"""Few tiles on a GPU: padded to one length, with a recorded pass for each of few numbers of them.

A pass over few tiles is hundreds of kernels, and to launch them one by one may take longer than to run them: a recorded
pass is launched as a whole. With many tiles the device is the slower side, and padding would only cost. One length
will do, because slicing makes all tiles of about one area. Past its own patches a padded tile is unseen in both
attentions; so its rows are the same beyond rounding. Knows patches, not images.

Shapes: B tiles of a pass, L patches that a tile is padded to, P values of a patch, Q queries, D the decoder's width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from trichord.cuda_graphs import Capture, at_least
from trichord.media.slicing import TileShape
from trichord.model_config import ModelConfig, SlicingConfig
from vision_encoder.positions import position_ids
from vision_encoder.resampler import Resampler, sincos
from vision_encoder.tower import CHANNELS, VisionTower, normalised

TILES = (1, 2, 3, 4, 8)
"""Tiles that a pass is padded to. The smallest images that are sliced become three or four."""
PASS_PATCHES = 4096
"""Most patches of a pass: about 4 TFLOP of the published tower, by when the device is the slower side."""
ASPECT_RATIO = 4
"""Tiles fit a recorded pass if their sides have at most this ratio; most others do too."""
LENGTH_STEP = 64
"""A padded tile has a multiple of so many patches: attention takes keys in blocks of that size."""


def padded_length(slicing: SlicingConfig, patch_size: int) -> int:
    """Patches that hold every tile that slicing makes, up to ``ASPECT_RATIO``.

    A tile has the area of ``scale_resolution`` squared before its sides are rounded, each up by at most half a patch;
    the longer it is, the more these halves add.
    """
    side, stretch = slicing.scale_resolution / patch_size, math.sqrt(ASPECT_RATIO)
    most = (side * stretch + 0.5) * (side / stretch + 0.5)
    return math.ceil(most / LENGTH_STEP) * LENGTH_STEP


class RecordedPasses:
    """Records a pass for each of ``TILES`` when it is made, up to ``PASS_PATCHES``. One pass runs at a time."""

    @torch.inference_mode()
    def __init__(self, tower: VisionTower, resampler: Resampler, config: ModelConfig, capture: Capture) -> None:
        vision, device = config.vision, resampler.proj.device
        self._positions_per_side = vision.positions_per_side
        self._length = padded_length(config.slicing, vision.patch_size)
        encode = _PaddedEncoder(tower, resampler, self._length)
        # The largest first: the small fit the large's memory.
        self._passes = {
            num_tiles: _Pass(_Inputs.blank(num_tiles, self._length, vision.patch_size, device), encode, capture)
            for num_tiles in reversed(TILES)
            if num_tiles * self._length <= PASS_PATCHES
        }

    def takes(self, shapes: Sequence[TileShape]) -> bool:
        """Whether there is a pass for tiles of these shapes."""
        return len(shapes) <= max(self._passes, default=0) and all(
            shape.height * shape.width <= self._length for shape in shapes
        )

    @torch.inference_mode()
    def __call__(self, tiles: Sequence[Tensor], shapes: Sequence[TileShape]) -> list[Tensor]:
        """Rows [Q, D] of each tile, uint8 [height * width, P], in order; for what it ``takes``."""
        places = [_places(shape, self._positions_per_side) for shape in shapes]
        return self._passes[at_least(len(tiles), TILES)](tiles, places)


@dataclass(frozen=True)
class _Inputs:
    """What a recorded pass reads: filled before each replay, always at the same places."""

    pixels_BLP: Tensor
    """uint8."""
    places_BL3: Tensor
    """int64: learned position, column and row of each patch."""
    num_patches_B: Tensor
    """int64: those of each tile that are not padding; at least one, as attention over nothing is not a number."""

    @classmethod
    def blank(cls, num_tiles: int, length: int, patch_size: int, device: torch.device) -> _Inputs:
        """For so many tiles."""
        return cls(
            torch.zeros(num_tiles, length, CHANNELS * patch_size**2, dtype=torch.uint8, device=device),
            torch.zeros(num_tiles, length, 3, dtype=torch.int64, device=device),
            torch.ones(num_tiles, dtype=torch.int64, device=device),
        )

    def fill(self, tiles: Sequence[Tensor], places: Sequence[Tensor]) -> None:
        """Puts tiles there, [patches, P] and [patches, 3] each. What was there before stays behind them, unseen."""
        for filled, values in ((self.pixels_BLP, tiles), (self.places_BL3, places)):
            padded = pad_sequence(list(values), batch_first=True)
            filled[: len(tiles), : padded.shape[1]] = padded
        self.num_patches_B[: len(tiles)] = torch.tensor([len(tile) for tile in tiles])


class _PaddedEncoder:
    """Tower and resampler over padded tiles: waits for nothing, and depends on nothing but what its inputs hold."""

    def __init__(self, tower: VisionTower, resampler: Resampler, length: int) -> None:
        self._tower, self._resampler = tower, resampler
        weight = resampler.proj
        # Of every column or row that a patch of so many can have.
        self._sincos = sincos(length, len(weight) // 2, weight.device).to(weight.dtype)

    def __call__(self, inputs: _Inputs) -> Tensor:
        """Rows [B, Q, D]."""
        num_tiles, length, _ = inputs.pixels_BLP.shape
        seen_BL = torch.arange(length, device=inputs.pixels_BLP.device) < inputs.num_patches_B[:, None]
        pixels = normalised(inputs.pixels_BLP.flatten(0, 1), self._sincos.dtype)
        position_ids, cols_rows_BL2 = inputs.places_BL3[..., 0].flatten(), inputs.places_BL3[..., 1:]
        states = self._tower(pixels, position_ids, [length] * num_tiles, seen_BL)
        positions_BLD = functional.embedding(cols_rows_BL2, self._sincos).flatten(2)
        return self._resampler.rows(states.unflatten(0, (num_tiles, length)), positions_BLD, seen_BL)


class _Pass:
    """A recorded pass over so many tiles as its inputs hold."""

    def __init__(self, inputs: _Inputs, encode: Callable[[_Inputs], Tensor], capture: Capture) -> None:
        self._inputs, self._rows_BQD = inputs, torch.empty(0)

        def work() -> None:
            self._rows_BQD = encode(inputs)

        self._replay = capture(work)

    def __call__(self, tiles: Sequence[Tensor], places: Sequence[Tensor]) -> list[Tensor]:
        self._inputs.fill(tiles, places)
        self._replay()
        # A copy: the next replay overwrites the rows.
        return list(self._rows_BQD[: len(tiles)].clone())


def _places(shape: TileShape, positions_per_side: int) -> Tensor:
    """int64 [height * width, 3]: learned position, column and row of each patch, row-major."""
    rows, cols = np.indices(shape).reshape(2, -1)
    return torch.from_numpy(np.stack([position_ids(*shape, positions_per_side), cols, rows], axis=1))
