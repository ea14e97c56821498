"""What is drawn: pictures of the size asked for that really show the thing, in its colour, apart from its ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trichord_training.pictures import COLOURS, SHAPES, Difficulty, Thing, draw, some_thing
from trichord_training.splits import Split, sample_rng

EASY = Difficulty(place=0.0, paint=0.0, long=0.0)
SIZES = [(98, 98), (140, 70), (112, 84), (70, 140)]

Picture = npt.NDArray[np.uint8]


def shares(picture: Picture) -> dict[str, float]:
    """Share of the pixels that are nearest to each colour."""
    values = np.array(list(COLOURS.values()), np.float64)
    distances = np.square(picture[:, :, None, :] - values).sum(-1)
    counts = np.bincount(distances.argmin(-1).ravel(), minlength=len(COLOURS))
    return {name: count / counts.sum() for name, count in zip(COLOURS, counts, strict=True)}


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(SIZES), st.sampled_from(["validation", "test"]))
def test_the_colour_of_the_thing_is_really_there(index: int, size: tuple[int, int], split: Split) -> None:
    rng = sample_rng(0, split, index)
    thing = some_thing(rng, split, Difficulty())
    picture = draw(thing, rng, split, size, Difficulty())
    assert (picture.shape, picture.dtype) == ((size[1], size[0], 3), np.uint8)
    found = shares(picture)
    assert found[thing.colour] > 0.005
    assert max(found, key=lambda name: found[name]) != thing.colour or thing.kind == "shape"


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_an_easy_shape_lies_in_the_middle_in_its_very_colour(name: str, size: tuple[int, int]) -> None:
    picture = draw(Thing("shape", name, "red"), np.random.default_rng(0), "test", size, EASY)
    rows, cols = np.nonzero((picture == COLOURS["red"]).all(-1))
    assert len(rows) > 200
    assert (rows.min() + rows.max()) / 2 == pytest.approx(size[1] / 2, abs=4)
    assert (cols.min() + cols.max()) / 2 == pytest.approx(size[0] / 2, abs=4)
    assert min(rows.min(), cols.min()) >= 0.05 * min(size)


def test_shapes_differ() -> None:
    drawn = [draw(Thing("shape", name, "red"), np.random.default_rng(0), "test", (98, 98), EASY) for name in SHAPES]
    differing = [(a != b).any(-1).mean() for place, a in enumerate(drawn) for b in drawn[:place]]
    assert min(differing) > 0.05


def test_a_shape_has_the_area_of_its_geometry() -> None:
    def area(name: str) -> int:
        picture = draw(Thing("shape", name, "red"), np.random.default_rng(0), "test", (98, 98), EASY)
        return int((np.abs(picture.astype(int) - COLOURS["red"]).sum(-1) < 90).sum())

    side = int(98 * 0.85) // 4 * 4
    assert area("circle") == pytest.approx(np.pi / 4 * side**2, rel=0.05)
    assert area("square") == pytest.approx((0.9 * side) ** 2, rel=0.05)
    assert area("triangle") == pytest.approx(side**2 / 2, rel=0.05)
    assert area("diamond") == pytest.approx(side**2 / 2, rel=0.05)


@given(st.integers(0, 10**6), st.sampled_from(sorted(COLOURS)))
@settings(max_examples=40)
def test_the_ground_is_another_colour_that_can_be_told(index: int, colour: str) -> None:
    picture = draw(Thing("shape", "ring", colour), np.random.default_rng(index), "test", (98, 98), EASY)
    corner = tuple(int(value) for value in picture[0, 0])
    assert corner in COLOURS.values()
    assert sum(abs(a - b) for a, b in zip(corner, COLOURS[colour], strict=True)) > 180


def test_digits_are_told_apart() -> None:
    drawn = [
        draw(Thing("number", str(n), "black"), np.random.default_rng(3), "test", (98, 98), EASY) for n in range(10)
    ]
    assert min((a != b).any(-1).mean() for place, a in enumerate(drawn) for b in drawn[:place]) > 0.01


def test_a_longer_text_is_wider() -> None:
    def extent(name: str) -> tuple[int, int]:
        picture = draw(Thing("number", name, "red"), np.random.default_rng(3), "test", (98, 98), EASY)
        rows, cols = np.nonzero(np.abs(picture.astype(int) - COLOURS["red"]).sum(-1) < 90)
        return int(np.ptp(cols)), int(np.ptp(rows))

    (one_wide, one_high), (four_wide, four_high) = extent("8"), extent("8888")
    assert four_wide / four_high > 2 * one_wide / one_high


def test_difficulty_is_what_makes_pictures_differ() -> None:
    thing = Thing("shape", "heart", "blue")

    def different(difficulty: Difficulty) -> int:
        return len({draw(thing, np.random.default_rng(i), "test", (98, 98), difficulty).tobytes() for i in range(30)})

    assert different(EASY) <= len(COLOURS) - 1
    assert different(Difficulty()) == 30


def test_things_without_difficulty_are_shapes_and_digits() -> None:
    rng = np.random.default_rng(0)
    things = [some_thing(rng, "train", EASY) for _ in range(200)]
    assert {thing.name for thing in things if thing.kind == "number"} == set("0123456789")
    assert {thing.kind for thing in things} == {"shape", "number"}
    hard = [some_thing(rng, "train", Difficulty()) for _ in range(200)]
    assert {thing.kind for thing in hard} == {"shape", "number", "word"}
