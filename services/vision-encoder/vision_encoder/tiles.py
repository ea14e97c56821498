"""Scales an image to its plan and cuts it into the patches that the model takes. Knows no files and no model."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from trichord.media.slicing import Size, SlicingPlan

Pixels = npt.NDArray[np.uint8]


def cut(image: Image.Image, plan: SlicingPlan) -> Pixels:
    """Patches [L, 3 * patch * patch] of an RGB image: tile after tile as the plan orders them, row-major in each.

    A patch is flattened from [3, patch, patch]. Scaling is bicubic, from the original both times.
    """
    patches = _patches(_scaled(image, plan.global_size), 1, 1, plan.patch_size)
    if not plan.cols:
        return patches
    refined = _patches(_scaled(image, plan.refined_size), plan.cols, plan.rows, plan.patch_size)
    return np.concatenate([patches, refined])


def _scaled(image: Image.Image, size: Size) -> Pixels:
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _patches(pixels: Pixels, cols: int, rows: int, patch_size: int) -> Pixels:
    """Patches of ``cols`` x ``rows`` tiles of pixels [H, W, 3]."""
    height, width = (length // patch_size for length in pixels.shape[:2])
    grid = pixels.reshape(rows, height // rows, patch_size, cols, width // cols, patch_size, 3)
    return grid.transpose(0, 3, 1, 4, 6, 2, 5).reshape(height * width, -1)
