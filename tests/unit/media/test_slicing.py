"""The slicing rule against a table of known cases, an independent implementation, and its own invariants."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trichord.errors import MediaError
from trichord.media.slicing import MAX_SIDE_PIXELS, Size, plan_slices
from trichord.model_config import SlicingConfig

PATCH = 14
SLICING = SlicingConfig(max_slices=9, scale_resolution=448)
SIDES = st.integers(1, MAX_SIDE_PIXELS)

# image, grid (cols x rows), slice pixels (width x height), slice patches (height x width), global pixels, global
# patches, patches in all, patches of the largest tile, tokens; made by a script independent of this code.
TABLE = """
14x14 - - - 448x448 32x32 1024 1024 64
64x64 - - - 448x448 32x32 1024 1024 64
100x300 - - - 252x770 55x18 990 990 64
224x224 - - - 448x448 32x32 1024 1024 64
300x200 - - - 546x364 26x39 1014 1014 64
336x336 - - - 448x448 32x32 1024 1024 64
447x448 - - - 448x448 32x32 1024 1024 64
448x448 - - - 448x448 32x32 1024 1024 64
449x448 2x1 322x630 45x23 448x448 32x32 3094 1035 192
480x640 1x2 546x364 26x39 392x518 37x28 3064 1036 192
500x400 - - - 504x406 29x36 1044 1044 64
512x512 1x2 630x322 23x45 448x448 32x32 3094 1035 192
550x550 1x2 630x322 23x45 448x448 32x32 3094 1035 192
560x560 1x2 630x322 23x45 448x448 32x32 3094 1035 192
600x600 1x2 630x322 23x45 448x448 32x32 3094 1035 192
640x480 2x1 364x546 39x26 518x392 28x37 3064 1036 192
650x650 2x2 448x448 32x32 448x448 32x32 5120 1024 320
750x655 2x2 476x420 30x34 476x420 30x34 5100 1020 320
750x731 2x2 448x448 32x32 448x448 32x32 5120 1024 320
800x600 2x2 518x392 28x37 518x392 28x37 5180 1036 320
800x650 2x2 490x406 29x35 490x406 29x35 5075 1015 320
880x628 2x2 532x378 27x38 532x378 27x38 5130 1026 320
930x620 2x1 392x518 37x28 546x364 26x39 3086 1036 192
960x720 2x2 518x392 28x37 518x392 28x37 5180 1036 320
720x960 2x2 392x518 37x28 392x518 37x28 5180 1036 320
720x1280 2x3 406x490 35x29 336x602 43x24 7122 1032 448
720x1480 2x3 378x518 37x27 308x644 46x22 7006 1012 448
1480x720 3x2 518x378 27x37 644x308 22x46 7006 1012 448
1024x768 2x2 518x392 28x37 518x392 28x37 5180 1036 320
1024x1024 3x2 364x546 39x26 448x448 32x32 7108 1024 448
1280x720 3x2 490x406 29x35 602x336 24x43 7122 1032 448
1344x1344 3x3 448x448 32x32 448x448 32x32 10240 1024 640
1920x1080 4x2 420x476 34x30 602x336 24x43 9192 1032 576
1080x1920 2x4 476x420 30x34 336x602 43x24 9192 1032 576
2048x1536 3x3 518x392 28x37 518x392 28x37 10360 1036 640
3000x1000 4x2 546x364 26x39 770x252 18x55 9102 1014 576
1000x3000 2x4 364x546 39x26 252x770 55x18 9102 1014 576
4000x3000 3x3 518x392 28x37 518x392 28x37 10360 1036 640
300x3000 1x6 350x574 41x25 140x1414 101x10 7160 1025 448
3000x300 6x1 574x350 25x41 1414x140 10x101 7160 1025 448
4032x3024 3x3 518x392 28x37 518x392 28x37 10360 1036 640
448x4032 1x9 448x448 32x32 154x1344 96x11 10272 1056 640
200x2000 1x3 252x812 58x18 140x1414 101x10 4142 1044 256
5000x100 4x1 1568x126 9x112 3150x56 4x225 4932 1008 320
"""


def pair(text: str) -> tuple[int, int]:
    first, second = text.replace("-", "0x0").split("x")
    return int(first), int(second)


@pytest.mark.parametrize("row", TABLE.split("\n")[1:-1], ids=lambda row: row.split()[0])
def test_known_sizes(row: str) -> None:
    image, grid, slice_px, slice_patches, global_px, global_patches, patches, largest, tokens = row.split()
    plan = plan_slices(*pair(image), SLICING, PATCH)
    slices = [pair(slice_patches)] * (plan.cols * plan.rows)
    assert (plan.cols, plan.rows) == pair(grid)
    assert plan.slice_size == pair(slice_px)
    assert plan.global_size == pair(global_px)
    assert plan.tile_shapes == [pair(global_patches), *slices]
    assert plan.num_patches == int(patches)
    assert max(shape.height * shape.width for shape in plan.tile_shapes) == int(largest)
    assert plan.num_tokens(64) == int(tokens)


def test_ties_go_to_the_first_grid() -> None:
    two = plan_slices(600, 600, SLICING, PATCH)
    six = plan_slices(1024, 1024, SLICING, PATCH)  # decided by the last bit of log(3/2) and log(2/3)
    assert (two.cols, two.rows) == (1, 2)
    assert (six.cols, six.rows) == (3, 2)


def test_an_unsliced_image_has_no_refined_size() -> None:
    assert plan_slices(100, 100, SLICING, PATCH).refined_size == Size(0, 0)
    assert plan_slices(720, 1480, SLICING, PATCH).refined_size == Size(2 * 378, 3 * 518)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (1, 0), (-3, 5), (MAX_SIDE_PIXELS + 1, 1), (1, 10**400)])
def test_impossible_sides_are_refused(width: int, height: int) -> None:
    with pytest.raises(MediaError, match="1 to 16384 pixels"):
        plan_slices(width, height, SLICING, PATCH)


@given(SIDES, SIDES)
def test_every_size_has_a_plan(width: int, height: int) -> None:
    plan = plan_slices(width, height, SLICING, PATCH)
    slices = plan.cols * plan.rows
    assert slices == 0 or 2 <= slices <= 9
    assert plan.num_tokens(64) == 64 * (1 + slices) <= 640
    assert len(plan.tile_shapes) == plan.num_tiles == 1 + slices
    assert all(side % PATCH == 0 for side in (*plan.global_size, *plan.slice_size))
    assert all(shape.height >= 1 and shape.width >= 1 for shape in plan.tile_shapes)


@given(SIDES, SIDES)
def test_slices_cover_the_refined_image(width: int, height: int) -> None:
    plan = plan_slices(width, height, SLICING, PATCH)
    assert plan.refined_size.width * plan.refined_size.height == (
        plan.cols * plan.rows * plan.slice_size.width * plan.slice_size.height
    )


@given(st.integers(40, MAX_SIDE_PIXELS // 10), st.floats(1 / 10, 10))
def test_tiles_are_about_as_large_as_the_model_wants(width: int, ratio: float) -> None:
    plan = plan_slices(width, round(width / ratio), SLICING, PATCH)
    assert all(0.75 * 1024 <= shape.height * shape.width <= 1.35 * 1024 for shape in plan.tile_shapes)


@given(SIDES, SIDES, st.integers(1, 64), st.integers(1, 4096), st.integers(1, 64))
def test_no_config_breaks_it(width: int, height: int, max_slices: int, side: int, patch_size: int) -> None:
    slicing = SlicingConfig(max_slices=max_slices, scale_resolution=side)
    plan = plan_slices(width, height, slicing, patch_size)
    assert plan.cols * plan.rows <= max_slices
    assert plan.num_patches >= plan.num_tiles


@pytest.fixture(scope="module")
def other_grid() -> Callable[..., list[int] | None]:
    """Grid as (rows, cols) by the image processor of MiniCPM-V 4.6, whose slicing is of the same family.

    Only the grid can be compared: that processor snaps sizes to multiples of 56.
    """
    module = importlib.import_module("transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6")
    return functools.partial(module.MiniCPMV4_6ImageProcessorPil.get_sliced_grid, None)


@given(width=st.integers(14, 8192), height=st.integers(14, 8192))
def test_grid_equals_another_implementation(other_grid, width: int, height: int) -> None:
    rows, cols = other_grid((height, width), 9, 448) or (0, 0)
    plan = plan_slices(width, height, SLICING, PATCH)
    assert (plan.cols, plan.rows) == (cols, rows)
