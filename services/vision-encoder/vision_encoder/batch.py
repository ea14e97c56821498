"""Requests as Triton brings them, answered together: checked one by one, encoded as one batch of tiles.

The core of the Triton adapter, on tensors alone. Knows no Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trichord.errors import RequestError
from trichord.media.slicing import TileShape


class Encoder(Protocol):
    """What encodes: ``encoder.VisionEncoder``, or ``simulated.SimulatedEncoder`` in its place."""

    patch_values: int
    """Values of a flattened patch: 3 * patch * patch."""

    def __call__(self, patches: Tensor, shapes: Sequence[TileShape]) -> list[Tensor]:
        """Rows [queries, hidden] of each tile; see ``VisionEncoder.forward``."""


@dataclass(frozen=True)
class Tiles:
    """One request's tiles."""

    patches: Tensor
    """uint8 [L, 3 * patch * patch]."""
    shapes: list[TileShape]
    """Of each tile in patches; their areas sum to L."""


Answer = Tensor | RequestError
"""Rows [tokens, hidden] of a request, or what is wrong with it."""


def answer(encoder: Encoder, requests: Sequence[tuple[Tensor, Tensor]]) -> list[Answer]:
    """The answer to each request (PATCHES uint8 [1, L, 3 * patch * patch], TILE_SIZES int32 [1, tiles, 2]), in order.

    A malformed request gets an error and costs the others nothing.
    """
    parsed = [_parse(encoder, *request) for request in requests]
    rows = iter(_encode(encoder, [tiles for tiles in parsed if isinstance(tiles, Tiles)]))
    return [next(rows) if isinstance(tiles, Tiles) else tiles for tiles in parsed]


def _encode(encoder: Encoder, requests: list[Tiles]) -> list[Tensor]:
    if not requests:
        return []
    shapes = [shape for request in requests for shape in request.shapes]
    with torch.inference_mode():
        rows = iter(encoder(torch.cat([request.patches for request in requests]), shapes))
        return [torch.cat([next(rows) for _ in request.shapes]) for request in requests]


def _parse(encoder: Encoder, patches: Tensor, tile_sizes: Tensor) -> Tiles | RequestError:
    if patches.ndim != 3 or len(patches) != 1 or patches.shape[2] != encoder.patch_values:
        return RequestError(f"PATCHES has shape [1, patches, {encoder.patch_values}].", field="PATCHES")
    if tile_sizes.ndim != 3 or len(tile_sizes) != 1 or tile_sizes.shape[1] == 0 or tile_sizes.shape[2] != 2:
        return RequestError("TILE_SIZES has shape [1, tiles >= 1, 2].", field="TILE_SIZES")
    shapes = [TileShape(height, width) for height, width in tile_sizes[0].tolist()]
    if any(shape.height < 1 or shape.width < 1 for shape in shapes):
        return RequestError("A tile has at least one patch each way.", field="TILE_SIZES")
    if sum(shape.height * shape.width for shape in shapes) != patches.shape[1]:
        return RequestError("The areas of TILE_SIZES sum to the number of PATCHES.", field="TILE_SIZES")
    return Tiles(patches[0], shapes)
