"""Tiles and patches against cropping with Pillow, one at a time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.unit.vision_encoder.images import picture
from trichord.media.slicing import plan_slices
from trichord.model_config import SlicingConfig
from vision_encoder.tiles import cut

PATCH = 14
SLICING = SlicingConfig(max_slices=9, scale_resolution=112)


def patches_by_hand(tile: Image.Image) -> list[np.ndarray]:
    boxes = [
        (left, top, left + PATCH, top + PATCH)
        for top in range(0, tile.height, PATCH)
        for left in range(0, tile.width, PATCH)
    ]
    return [np.asarray(tile.crop(box)).transpose(2, 0, 1).reshape(-1) for box in boxes]


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (112, 112), (113, 112), (180, 370), (370, 180), (300, 300), (30, 900), (900, 9)]
)
def test_equals_cropping_one_at_a_time(width: int, height: int) -> None:
    image = picture(width, height)
    plan = plan_slices(width, height, SLICING, PATCH)
    tiles = [image.resize(plan.global_size, Image.Resampling.BICUBIC)]
    if plan.cols:
        refined = image.resize(plan.refined_size, Image.Resampling.BICUBIC)
        tile_width, tile_height = plan.slice_size
        for row in range(plan.rows):
            for col in range(plan.cols):
                left, top = col * tile_width, row * tile_height
                tiles.append(refined.crop((left, top, left + tile_width, top + tile_height)))
    patches = cut(image, plan)
    assert patches.dtype == np.uint8
    assert patches.shape == (plan.num_patches, 3 * PATCH * PATCH)
    assert patches.flags.c_contiguous
    assert np.array_equal(patches, [patch for tile in tiles for patch in patches_by_hand(tile)])


def test_one_pixel_becomes_a_whole_tile_of_its_colour() -> None:
    patches = cut(Image.new("RGB", (1, 1), (10, 20, 30)), plan_slices(1, 1, SLICING, PATCH))
    assert patches.shape == (64, 588)
    assert (patches.reshape(64, 3, 196) == np.array([10, 20, 30], np.uint8)[None, :, None]).all()
