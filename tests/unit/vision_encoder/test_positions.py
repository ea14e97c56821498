"""Positions against the arithmetic of the tower that the weights were trained in."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vision_encoder.positions import position_ids

SIDE = 70
SHIFTED = (25, 49, 50, 55, 58, 77, 82, 86, 94, 98, 100, 110, 115, 135)
"""Side lengths at which float32 moves a patch to another cell than exact arithmetic."""


def float32(value: float) -> float:
    return ctypes.c_float(value).value


def cells_by_hand(num_patches: int) -> list[int]:
    """In plain Python, value by value, with the rounding of an AVX2 kernel: blocks of eight, two at a time."""
    step = float32(1 / num_patches)
    cells = []
    for i in range(num_patches):
        block = i - i % 8 if i < num_patches - num_patches % 16 else i
        place = float32(float32(block * step) + (i - block) * step)
        cells.append(sum(1 for k in range(1, SIDE) if float32(k / SIDE) <= place))
    return cells


def cells(num_patches: int) -> list[int]:
    return position_ids(1, num_patches, SIDE).tolist()


@pytest.mark.parametrize("num_patches", [*range(1, 140), 225, 314, 512])
def test_equals_plain_python(num_patches: int) -> None:
    assert cells(num_patches) == cells_by_hand(num_patches)


def test_differs_from_exact_arithmetic_where_float32_does() -> None:
    differing = [n for n in range(1, 140) if cells(n) != [i * SIDE // n for i in range(n)]]
    assert tuple(differing) == SHIFTED


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="the kernel is x86's")
@pytest.mark.parametrize("num_patches", range(1, 400))
def test_equals_the_original_expression(num_patches: int) -> None:
    boundaries = torch.arange(1 / SIDE, 1.0, 1 / SIDE)
    places = torch.arange(0, 1 - 1e-6, 1 / torch.tensor(num_patches, dtype=torch.int32))
    assert cells(num_patches) == torch.bucketize(places, boundaries, right=True).tolist()


@given(st.integers(1, 130), st.integers(1, 130), st.integers(1, 80))
def test_every_patch_has_a_cell_and_order_is_kept(height: int, width: int, side: int) -> None:
    grid = position_ids(height, width, side).reshape(height, width)
    rows, cols = np.divmod(grid, side)
    assert grid.min() >= 0
    assert grid.max() < side**2
    assert (rows == rows[:, :1]).all()
    assert (cols == cols[:1]).all()
    assert (np.diff(rows[:, 0]) >= 0).all()
    assert (np.diff(cols[0]) >= 0).all()
    assert math.isclose(rows[-1, 0], (height - 1) * side // height, abs_tol=1)


def test_ids_are_shared_and_cannot_be_changed() -> None:
    ids = position_ids(3, 5, SIDE)
    assert position_ids(3, 5, SIDE) is ids
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1
