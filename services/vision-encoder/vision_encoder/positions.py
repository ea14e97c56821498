"""Which learned position each patch of a tile takes from the tower's square table.

NaViT's fractional coordinates (arXiv 2307.06304, section 2.1), as Idefics2's tower computes them: patch i of n lies at
i / n, and the table's cell is the bucket that this falls into. In exact arithmetic that is floor(i * side / n); the
published weights were trained with float32 coordinates, which fall into a neighbouring cell for some n (49, 50, 55,
58, ...), so the rounding is part of the model. Knows no torch.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

_LANES = 8
_UNROLLED = 2 * _LANES


@functools.lru_cache(maxsize=512)
def position_ids(height: int, width: int, side: int) -> npt.NDArray[np.int64]:
    """Rows of a table of ``side`` x ``side`` positions for ``height`` x ``width`` patches, row-major, read-only."""
    ids: npt.NDArray[np.int64] = (_cells(height, side)[:, None] * side + _cells(width, side)).reshape(-1)
    ids.flags.writeable = False
    return ids


def _cells(num_patches: int, side: int) -> npt.NDArray[np.int64]:
    """The cell, 0 to side - 1, of each of ``num_patches`` patches along one side."""
    boundaries = _float32_steps(1 / side, 1 / side, side - 1)
    coordinates = _float32_steps(0.0, float(np.float32(1) / np.float32(num_patches)), num_patches)
    return np.searchsorted(boundaries, coordinates, side="right").astype(np.int64)


def _float32_steps(start: float, step: float, count: int) -> npt.NDArray[np.float32]:
    """Values start + i * step as torch.arange rounds it on x86, on every machine.

    That kernel rounds the first of each eight values to float32 and adds the others' steps to it; the values after the
    last whole sixteen are rounded once.
    """
    index = np.arange(count)
    first = np.where(index < count // _UNROLLED * _UNROLLED, index // _LANES * _LANES, index)
    rounded = (start + first * step).astype(np.float32).astype(np.float64)
    return (rounded + (index - first) * step).astype(np.float32)
