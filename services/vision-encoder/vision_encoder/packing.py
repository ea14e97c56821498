"""Which tiles run together: by what they cost, whatever their shapes and whichever request they belong to.

Cost is counted in patches: all of a tower's matrix products, most of its work, are over patches side by side. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trichord.media.slicing import TileShape

PATCHES_PER_PASS = 8192
"""About eight tiles of 448 x 448 pixels: rows enough to fill any device, and a bound on the memory of activations."""


def passes(shapes: Sequence[TileShape], max_patches: int) -> Iterator[list[int]]:
    """Indices of the tiles of each pass: at most ``max_patches`` patches, but at least one tile.

    Tiles of one shape are neighbours, and so are those of one area: attention runs once for each area of a pass.
    """
    pack: list[int] = []
    num_patches = 0
    for index in sorted(range(len(shapes)), key=lambda index: (_area(shapes[index]), shapes[index])):
        area = _area(shapes[index])
        if pack and num_patches + area > max_patches:
            yield pack
            pack, num_patches = [], 0
        pack.append(index)
        num_patches += area
    if pack:
        yield pack


def _area(shape: TileShape) -> int:
    return shape.height * shape.width
