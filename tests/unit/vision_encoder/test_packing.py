"""Tiles packed by cost: what runs together, and that a tile does not notice."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trichord.media.slicing import TileShape
from vision_encoder.attention import attend, attend_packed
from vision_encoder.encoder import VisionEncoder
from vision_encoder.packing import PATCHES_PER_PASS, passes

SHAPES = st.lists(st.builds(TileShape, st.integers(1, 9), st.integers(1, 9)), max_size=40)


def area(shape: TileShape) -> int:
    return shape.height * shape.width


@settings(max_examples=300)
@given(shapes=SHAPES, max_patches=st.integers(1, 200))
def test_every_tile_runs_once_within_the_budget(shapes: list[TileShape], max_patches: int) -> None:
    packs = list(passes(shapes, max_patches))
    assert sorted(index for pack in packs for index in pack) == list(range(len(shapes)))
    for pack in packs:
        assert pack
        assert len(pack) == 1 or sum(area(shapes[index]) for index in pack) <= max_patches
    for pack, following in pairwise(packs):
        assert sum(area(shapes[index]) for index in [*pack, following[0]]) > max_patches, "it would have fitted"


@given(shapes=SHAPES)
def test_tiles_of_one_area_and_of_one_shape_are_neighbours(shapes: list[TileShape]) -> None:
    for pack in passes(shapes, 10_000):
        for key in (area, lambda shape: shape):
            keys = [key(shapes[index]) for index in pack]
            changes = sum(before != after for before, after in pairwise(keys))
            assert changes == len(set(keys)) - 1


def test_the_published_image_is_one_pass() -> None:
    shapes = [TileShape(46, 22), *[TileShape(37, 27)] * 6]
    assert len(list(passes(shapes, PATCHES_PER_PASS))) == 1


@settings(max_examples=60)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_packed_sequences_attend_each_to_itself(lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(sum(lengths))
    q, k, v = (torch.randn(sum(lengths), 12, generator=generator) for _ in range(3))
    alone = [
        attend(a[None], b[None], c[None], 3)[0] for a, b, c in zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
    ]
    torch.testing.assert_close(attend_packed(q, k, v, 3, lengths), torch.cat(alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_patches", [1, 7, 8192])
def test_rows_do_not_depend_on_the_budget(encoder: VisionEncoder, monkeypatch, max_patches: int) -> None:
    shapes = [TileShape(2, 3), TileShape(3, 2), TileShape(1, 1), TileShape(2, 3), TileShape(4, 5)]
    patches = torch.randint(0, 256, (sum(map(area, shapes)), 588), dtype=torch.uint8)
    expected = encoder(patches, shapes)
    monkeypatch.setattr("vision_encoder.encoder.PATCHES_PER_PASS", max_patches)
    for rows, wanted in zip(encoder(patches, shapes), expected, strict=True):
        torch.testing.assert_close(rows, wanted, rtol=1e-4, atol=1e-5)
