"""The vision module: how tiles are grouped, normalised and loaded, and what a batch of requests gets."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trichord.checkpoint.initialize import init
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError, RequestError
from trichord.media.slicing import TileShape
from trichord.model_config import Dtype, ModelConfig
from trichord.settings import ModelSettings
from vision_encoder.batch import answer
from vision_encoder.encoder import VisionEncoder, load
from vision_encoder.positions import position_ids

SHAPES = st.lists(st.builds(TileShape, st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=20)


def random_patches(shapes: list[TileShape], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    length = sum(shape.height * shape.width for shape in shapes)
    return torch.randint(0, 256, (length, 588), dtype=torch.uint8, generator=generator)


def request(*shapes: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    tiles = [TileShape(*shape) for shape in shapes]
    return random_patches(tiles, seed)[None], torch.tensor([tiles], dtype=torch.int32)


def alone(encoder: VisionEncoder, patches: torch.Tensor, shape: TileShape) -> torch.Tensor:
    """One tile straight through the parts."""
    pixels = (patches.double() - 127.5) / 127.5
    positions = torch.tensor(position_ids(*shape, encoder.positions_per_side))
    return encoder.resampler(encoder.vpm(pixels.float(), positions, [len(pixels)])[None], *shape)[0]


@settings(max_examples=20, deadline=None)
@given(shapes=SHAPES)
def test_each_tile_is_as_if_alone(encoder: VisionEncoder, shapes: list[TileShape]) -> None:
    patches = random_patches(shapes)
    start = 0
    for shape, rows in zip(shapes, encoder(patches, shapes), strict=True):
        stop = start + shape.height * shape.width
        torch.testing.assert_close(rows, alone(encoder, patches[start:stop], shape), rtol=1e-4, atol=1e-5)
        start = stop


def test_normalisation_is_exact_in_bfloat16() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    exact = ((values.double() - 127.5) / 127.5).bfloat16()
    assert torch.equal((values.bfloat16() - 127.5) / 127.5, exact)


def test_bfloat16_stays_near_float32(encoder: VisionEncoder, config: ModelConfig) -> None:
    half = VisionEncoder(config).eval().requires_grad_(False)
    half.load_state_dict(encoder.state_dict())
    half.bfloat16()
    shapes = [TileShape(4, 6), TileShape(3, 3)]
    for exact, rows in zip(encoder(random_patches(shapes), shapes), half(random_patches(shapes), shapes), strict=True):
        assert rows.dtype == torch.bfloat16
        assert torch.nn.functional.cosine_similarity(exact, rows.float(), dim=-1).min() > 0.99


@pytest.mark.parametrize("preset", PRESETS)
def test_its_tensors_are_the_checkpoints(preset: str) -> None:
    with torch.device("meta"):
        encoder = VisionEncoder(PRESETS[preset])
    ours = {f"vision.{name}": tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    theirs = {name: shape for name, shape in tensor_shapes(PRESETS[preset]).items() if name.startswith("vision.")}
    assert ours == theirs


def test_requests_answered_together_equal_requests_answered_alone(encoder: VisionEncoder) -> None:
    requests = [request((4, 4), (2, 3), (2, 3)), request((2, 3), seed=1), request((3, 2), (4, 4), seed=2)]
    together = answer(encoder, requests)
    for one, rows in zip(requests, together, strict=True):
        (expected,) = answer(encoder, [one])
        assert isinstance(rows, torch.Tensor)
        assert rows.shape == (16 * one[1].shape[1], 64)
        torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-5)


def test_order_of_requests_does_not_matter(encoder: VisionEncoder) -> None:
    requests = [request((height, width), (2, 2), seed=height) for height in range(1, 4) for width in range(1, 4)]
    shuffled = random.Random(5).sample(range(len(requests)), len(requests))
    straight = answer(encoder, requests)
    for place, rows in zip(shuffled, answer(encoder, [requests[index] for index in shuffled]), strict=True):
        torch.testing.assert_close(rows, straight[place], rtol=1e-4, atol=1e-5)


GOOD = request((2, 3))
BAD = {
    "no tiles": (GOOD[0], torch.zeros(1, 0, 2, dtype=torch.int32)),
    "a tile of nothing": (GOOD[0], torch.tensor([[[2, 3], [0, 4]]], dtype=torch.int32)),
    "negative sizes": (GOOD[0], torch.tensor([[[-2, -3]]], dtype=torch.int32)),
    "sizes that do not add up": (GOOD[0], torch.tensor([[[2, 4]]], dtype=torch.int32)),
    "three numbers for a tile": (GOOD[0], torch.tensor([[[1, 2, 3]]], dtype=torch.int32)),
    "patches of another size": (GOOD[0][:, :, :-1], GOOD[1]),
    "two images in one": (GOOD[0].expand(2, -1, -1), GOOD[1]),
    "flat patches": (GOOD[0][0], GOOD[1]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_request_costs_its_batch_mates_nothing(encoder: VisionEncoder, name: str) -> None:
    first, error, last = answer(encoder, [GOOD, BAD[name], GOOD])
    assert isinstance(error, RequestError)
    assert error.field in ("PATCHES", "TILE_SIZES")
    assert torch.equal(first, last)
    assert torch.equal(first, answer(encoder, [GOOD])[0])


def test_a_batch_of_malformed_requests_is_answered(encoder: VisionEncoder) -> None:
    assert all(isinstance(error, RequestError) for error in answer(encoder, list(BAD.values())))


@pytest.fixture(scope="module")
def checkpoint(config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    init(config, directory, seed=5)
    return directory


@pytest.mark.parametrize(("dtype", "expected"), [(None, torch.float32), ("bfloat16", torch.bfloat16)])
def test_loads_a_checkpoint(checkpoint: Path, dtype: Dtype | None, expected: torch.dtype) -> None:
    loaded = load(ModelSettings(checkpoint=checkpoint, dtype=dtype), "cpu")
    stored = safetensors.torch.load_file(checkpoint / "model.safetensors")
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, stored[f"vision.{name}"].to(expected))
        assert not parameter.requires_grad
    (rows,) = answer(loaded, [GOOD])
    assert isinstance(rows, torch.Tensor)
    assert rows.dtype == expected
    assert rows.isfinite().all()


def test_a_missing_tensor_is_named(checkpoint: Path, tmp_path: Path) -> None:
    tensors = safetensors.torch.load_file(checkpoint / "model.safetensors")
    del tensors["vision.resampler.ln_q.bias"]
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"vision\.resampler\.ln_q\.bias"):
        load(ModelSettings(checkpoint=tmp_path, dtype=None), "cpu")
