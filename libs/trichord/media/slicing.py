"""How an image of a given size is cut into tiles, and how many tokens that costs.

A tile is what the vision tower sees at once: about ``scale_resolution`` squared pixels, whole patches each way. An
image larger than that becomes one global tile (the whole image, scaled down) and a grid of slices (the image, scaled
to the grid). Source: arXiv 2502.15803, section 3.2; the rule is that of LLaVA-UHD (arXiv 2403.11703, section 3.1).
All arithmetic is in doubles with banker's rounding, because ties are decided by the last bit.

Knows sizes only: no pixels, no decoding, no prompt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from trichord.errors import MediaError
from trichord.model_config import SlicingConfig

MAX_SIDE_PIXELS = 16_384
"""Longest side of an image that is planned for, in pixels; bounds every size below."""


class Size(NamedTuple):
    """Width and height in pixels; 0 x 0 for what is not there."""

    width: int
    height: int


class TileShape(NamedTuple):
    """Height and width of a tile in patches: the order in which the tower takes them."""

    height: int
    width: int


@dataclass(frozen=True)
class SlicingPlan:
    """What becomes of one image. Tiles are in the model's order: the global one, then the slices row by row."""

    cols: int
    """Slices in a row; 0 if the image is not sliced."""
    rows: int
    """Rows of slices; 0 if the image is not sliced."""
    global_size: Size
    """To which the whole image is scaled for the global tile."""
    slice_size: Size
    """Of each slice; 0 x 0 if the image is not sliced."""
    patch_size: int
    """Side of a patch in pixels."""

    @property
    def refined_size(self) -> Size:
        """To which the whole image is scaled before it is cut into slices; 0 x 0 if it is not sliced."""
        return Size(self.slice_size.width * self.cols, self.slice_size.height * self.rows)

    @property
    def num_tiles(self) -> int:
        """The global tile and the slices."""
        return 1 + self.cols * self.rows

    @property
    def tile_shapes(self) -> list[TileShape]:
        """Shape of each tile in patches, in the model's order."""
        return [self._shape(self.global_size)] + [self._shape(self.slice_size)] * (self.cols * self.rows)

    @property
    def num_patches(self) -> int:
        """Patches of all tiles: what the tower's time is about proportional to."""
        return sum(shape.height * shape.width for shape in self.tile_shapes)

    def num_tokens(self, num_queries: int) -> int:
        """Embedding rows, if the resampler turns each tile into ``num_queries``."""
        return num_queries * self.num_tiles

    def _shape(self, size: Size) -> TileShape:
        return TileShape(size.height // self.patch_size, size.width // self.patch_size)


def plan_slices(width: int, height: int, slicing: SlicingConfig, patch_size: int) -> SlicingPlan:
    """The plan for an image of ``width`` x ``height`` pixels. Raises MediaError for sides outside [1, 16384]."""
    if not (1 <= width <= MAX_SIDE_PIXELS and 1 <= height <= MAX_SIDE_PIXELS):
        raise MediaError(f"An image is 1 to {MAX_SIDE_PIXELS} pixels each way.", field="image")
    side = slicing.scale_resolution
    wanted = min(math.ceil(width * height / side**2), slicing.max_slices)
    if wanted <= 1:
        # A small image is scaled up, so that its one tile has as many patches as any other.
        return SlicingPlan(0, 0, _fit(width, height, side, patch_size, enlarge=True), Size(0, 0), patch_size)
    cols, rows = _nearest_grid(math.log(width / height), wanted, slicing.max_slices)
    slice_size = _fit(_snap(width, cols) / cols, _snap(height, rows) / rows, side, patch_size, enlarge=True)
    return SlicingPlan(cols, rows, _fit(width, height, side, patch_size, enlarge=False), slice_size, patch_size)


def _nearest_grid(log_ratio: float, wanted: int, max_slices: int) -> tuple[int, int]:
    """(cols, rows) of ``wanted`` slices, one less or one more, whose shape is nearest to the image's; first wins."""
    grids = [
        (cols, count // cols)
        for count in (wanted - 1, wanted, wanted + 1)
        if 1 < count <= max_slices
        for cols in range(1, count + 1)
        if count % cols == 0
    ]
    return min(grids, key=lambda grid: abs(log_ratio - math.log(grid[0] / grid[1])))


def _fit(width: float, height: float, side: int, patch_size: int, *, enlarge: bool) -> Size:
    """The size of whole patches with the given shape and an area of about ``side`` squared."""
    if enlarge or width * height > side**2:
        ratio = width / height
        height = int(side / math.sqrt(ratio))
        width = int(height * ratio)
    return Size(_snap(width, patch_size), _snap(height, patch_size))


def _snap(length: float, step: int) -> int:
    return max(round(length / step) * step, step)
