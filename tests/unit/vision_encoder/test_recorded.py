"""Padded and recorded passes against packed ones: padding never shows, and nothing is left of the pass before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.graphs_lab import tape
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.cuda_graphs import Capture, Work, capture_for
from trichord.media.slicing import TileShape, plan_slices
from trichord.model_config import ModelConfig, SlicingConfig
from trichord.settings import ModelSettings
from vision_encoder.encoder import VisionEncoder, load
from vision_encoder.recorded import ASPECT_RATIO, PASS_PATCHES, TILES, padded_length

NEAR = {"rtol": 1e-5, "atol": 1e-5}
LENGTH = 128
"""Patches that tiles are padded to with ``tiny``."""


def random_patches(shapes: list[TileShape], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    length = sum(height * width for height, width in shapes)
    return torch.randint(0, 256, (length, 588), dtype=torch.uint8, generator=generator)


def recording(plain: VisionEncoder, config: ModelConfig, capture: Capture = tape) -> VisionEncoder:
    """The same weights behind recorded passes."""
    module = VisionEncoder(config).eval().requires_grad_(False)
    module.load_state_dict(plain.state_dict())
    module.record(capture)
    return module


class CountingCapture:
    """Records nothing, and counts."""

    def __init__(self) -> None:
        self.num_recorded, self.num_replays = 0, 0

    def __call__(self, work: Work) -> Work:
        work()
        self.num_recorded += 1

        def replay() -> None:
            self.num_replays += 1
            work()

        return replay


@pytest.fixture(scope="module")
def recorded(encoder: VisionEncoder, config: ModelConfig) -> VisionEncoder:
    return recording(encoder, config)


# Those that slicing makes, the smallest and the thinnest, and around the end of what is recorded.
tile_shapes = st.sampled_from(
    [(8, 8), (9, 7), (16, 4), (1, 1), (1, 40), (40, 1), (127, 1), (1, 127), (8, 16), (128, 1), (1, 128), (3, 43)]
) | st.tuples(st.integers(1, 11), st.integers(1, 11))
many_shapes = st.lists(tile_shapes, min_size=1, max_size=5) | st.lists(tile_shapes, min_size=7, max_size=10)


@settings(max_examples=60, deadline=None)
@given(sizes=many_shapes)
def test_padded_rows_are_those_of_packed_tiles(
    encoder: VisionEncoder, recorded: VisionEncoder, sizes: list[tuple[int, int]]
) -> None:
    shapes = [TileShape(*size) for size in sizes]
    patches = random_patches(shapes, seed=len(shapes))
    for padded, packed in zip(recorded(patches, shapes), encoder(patches, shapes), strict=True):
        torch.testing.assert_close(padded, packed, **NEAR)


@pytest.mark.parametrize("num_tiles", range(1, TILES[-1] + 1))
def test_rows_come_in_the_order_of_their_tiles(encoder: VisionEncoder, recorded: VisionEncoder, num_tiles: int) -> None:
    shapes = [TileShape(9 - index, 3 + index % 4) for index in range(num_tiles)]
    patches = random_patches(shapes)
    start = 0
    for shape, rows in zip(shapes, recorded(patches, shapes), strict=True):
        stop = start + shape.height * shape.width
        torch.testing.assert_close(rows, encoder(patches[start:stop], [shape])[0], **NEAR)
        start = stop


def test_nothing_is_left_of_the_pass_before(encoder: VisionEncoder, recorded: VisionEncoder) -> None:
    large, small = [TileShape(8, 16), TileShape(16, 8)], [TileShape(1, 1), TileShape(2, 3)]
    before = recorded(random_patches(large, seed=1), large)
    kept = [rows.clone() for rows in before]
    patches = random_patches(small, seed=2)
    for padded, packed in zip(recorded(patches, small), encoder(patches, small), strict=True):
        torch.testing.assert_close(padded, packed, **NEAR)
    for rows, expected in zip(before, kept, strict=True):
        assert torch.equal(rows, expected), "a later pass has overwritten an earlier one's rows"


def test_a_tile_takes_no_notice_of_its_neighbours(recorded: VisionEncoder) -> None:
    shapes = [TileShape(8, 8), TileShape(11, 11)]
    patches = random_patches(shapes)
    other = torch.cat([patches[:64], 255 - patches[64:]])
    (first, changed), (same, _) = recorded(patches, shapes), recorded(other, shapes)
    torch.testing.assert_close(first, same, **NEAR)
    assert (recorded(other, shapes)[1] - changed).abs().max() > 1e-3


def test_few_tiles_are_replays_of_what_was_recorded_at_the_start(encoder: VisionEncoder, config: ModelConfig) -> None:
    capture = CountingCapture()
    module = recording(encoder, config, capture)
    assert (capture.num_recorded, capture.num_replays) == (len(TILES), 0)
    for shapes in (
        [TileShape(3, 43)],  # larger than any pass takes
        [TileShape(8, 8), TileShape(3, 43)],
        [TileShape(8, 8)] * (TILES[-1] + 1),
    ):
        module(random_patches(shapes), shapes)
    assert capture.num_replays == 0
    for shapes in ([TileShape(8, 16)], [TileShape(8, 8)] * 3, [TileShape(8, 8)] * TILES[-1]):
        module(random_patches(shapes), shapes)
    assert (capture.num_recorded, capture.num_replays) == (len(TILES), 3)


@pytest.fixture(scope="module")
def large_tiles(config: ModelConfig) -> ModelConfig:
    """Megrez's tiles before the tiny tower."""
    return config.model_copy(update={"slicing": PRESETS["megrez-3b-omni"].slicing})


def test_no_pass_is_larger_than_the_bound(encoder: VisionEncoder, large_tiles: ModelConfig) -> None:
    capture = CountingCapture()
    module = recording(encoder, large_tiles, capture)
    length = padded_length(large_tiles.slicing, 14)
    most = PASS_PATCHES // length
    assert (length, most, capture.num_recorded) == (1088, 3, 3)
    shapes = [TileShape(46, 22), TileShape(37, 27), TileShape(37, 27)]
    patches = random_patches(shapes)
    for padded, packed in zip(module(patches, shapes), encoder(patches, shapes), strict=True):
        torch.testing.assert_close(padded, packed, **NEAR)
    assert capture.num_replays == 1
    shapes.append(TileShape(1, 1))
    module(random_patches(shapes), shapes)
    assert capture.num_replays == 1


def test_tiles_too_large_for_any_pass_are_packed(encoder: VisionEncoder, config: ModelConfig) -> None:
    capture = CountingCapture()
    slicing = SlicingConfig(max_slices=9, scale_resolution=4096)
    module = recording(encoder, config.model_copy(update={"slicing": slicing}), capture)
    shapes = [TileShape(2, 3)]
    patches = random_patches(shapes)
    torch.testing.assert_close(module(patches, shapes)[0], encoder(patches, shapes)[0], **NEAR)
    assert (capture.num_recorded, capture.num_replays) == (0, 0)


slicings = st.sampled_from([preset.slicing for preset in PRESETS.values()]) | st.builds(
    SlicingConfig, max_slices=st.integers(1, 12), scale_resolution=st.integers(1, 700)
)


@settings(max_examples=500, deadline=None)
@given(slicing=slicings, short=st.integers(1, 4_000), ratio=st.floats(1, ASPECT_RATIO), is_tall=st.booleans())
def test_what_slicing_makes_fits(slicing: SlicingConfig, short: int, ratio: float, is_tall: bool) -> None:
    width, height = int(short * ratio), short
    plan = plan_slices(*((height, width) if is_tall else (width, height)), slicing, 14)
    most = padded_length(slicing, 14)
    assert max(shape.height * shape.width for shape in plan.tile_shapes) <= most


@pytest.mark.parametrize(("preset", "expected"), [("tiny", LENGTH), ("demo", 64), ("megrez-3b-omni", 1088)])
def test_padding_is_no_more_than_it_must_be(preset: str, expected: int) -> None:
    slicing = PRESETS[preset].slicing
    largest = max(
        plan_slices(slicing.scale_resolution**2 // height, height, slicing, 14).num_patches
        for height in range(slicing.scale_resolution // 2, 2 * slicing.scale_resolution)
    )
    assert padded_length(slicing, 14) == expected
    assert expected - 64 < largest <= expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_recorded_on_a_gpu(encoder: VisionEncoder, config: ModelConfig) -> None:
    module = VisionEncoder(config).eval().requires_grad_(False)
    module.load_state_dict(encoder.state_dict())
    module.cuda().record(capture_for(torch.device("cuda")))
    batches = [[TileShape(1 + seed % 11, 1 + 3 * seed % 11) for seed in range(count)] for count in (1, 3, 3, 7, 8)]
    answers = [module(random_patches(shapes), shapes) for shapes in batches]  # all of them, before any is looked at
    for shapes, rows in zip(batches, answers, strict=True):
        for padded, packed in zip(rows, encoder(random_patches(shapes), shapes), strict=True):
            torch.testing.assert_close(padded.cpu(), packed, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_loaded_onto_a_gpu_it_is_recorded(config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(config, tmp_path / "tiny", seed=5)
    checkpoint = ModelSettings(checkpoint=tmp_path / "tiny", dtype="bfloat16")
    shapes = [TileShape(8, 8), TileShape(9, 7), TileShape(4, 16)]
    patches = random_patches(shapes)
    packed = load(checkpoint, "cpu")(patches, shapes)
    module = load(checkpoint, "cuda")
    monkeypatch.setattr(module, "_packed", None)
    for exact, rows in zip(packed, module(patches, shapes), strict=True):
        assert rows.dtype == torch.bfloat16
        assert torch.nn.functional.cosine_similarity(exact.float(), rows.cpu().float(), dim=-1).min() > 0.99
