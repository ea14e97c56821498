"""The simulated vision encoder stands where the real one does: same shapes, same passes, rows that are seeded."""

from __future__ import annotations

import asyncio

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.vision_encoder import images
from trichord.checkpoint.presets import PRESETS
from trichord.errors import RequestError, UnavailableError
from trichord.media.slicing import TileShape
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings
from trichord.simulation.checkpoint import write_weightless
from trichord.simulation.identity import simulated as simulated_config
from trichord.simulation.latency import VisionLatency
from trichord.simulation.rows import made_by
from vision_encoder.batch import answer
from vision_encoder.encoder import VisionEncoder
from vision_encoder.front import VisionFront
from vision_encoder.packing import PATCHES_PER_PASS, passes
from vision_encoder.prepare import Preparer
from vision_encoder.settings import VisionSettings
from vision_encoder.simulated import SimulatedEncoder, load

TINY = PRESETS["tiny"]
LATENCY = VisionLatency(pass_ms=100, weights_ms=0, tile_ms=10)
SHAPES = st.lists(st.builds(TileShape, st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=30)


def simulated(dtype: torch.dtype = torch.float32) -> tuple[SimulatedEncoder, list[float]]:
    """An encoder, and the waits that it will have asked for."""
    waits: list[float] = []
    return SimulatedEncoder(TINY, dtype, LATENCY, waits.append), waits


def patches_of(shapes: list[TileShape], seed: int = 0) -> torch.Tensor:
    length = sum(shape.height * shape.width for shape in shapes)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (length, 588), dtype=torch.uint8, generator=generator)


@given(SHAPES)
def test_shapes_are_the_real_ones(encoder: VisionEncoder, shapes: list[TileShape]) -> None:
    patches = patches_of(shapes)
    for rows, real in zip(simulated()[0](patches, shapes), encoder(patches, shapes), strict=True):
        assert (rows.shape, rows.dtype) == (real.shape, real.dtype)


@given(SHAPES)
def test_it_waits_once_for_each_pass_that_the_real_one_makes(shapes: list[TileShape]) -> None:
    encoder, waits = simulated()
    encoder(patches_of(shapes), shapes)
    num_passes = len(list(passes(shapes, PATCHES_PER_PASS)))
    assert len(waits) == num_passes
    assert sum(waits) == pytest.approx(num_passes * 0.1 + len(shapes) * 0.01)


def test_a_batch_takes_less_than_its_requests_alone() -> None:
    shapes = [TileShape(4, 4)] * 2
    request = patches_of(shapes)[None], torch.tensor([shapes], dtype=torch.int32)
    encoder, together = simulated()
    answer(encoder, [request] * 3)
    encoder, alone = simulated()
    for _ in range(3):
        answer(encoder, [request])
    assert sum(together) == pytest.approx(0.1 + 6 * 0.01)
    assert sum(alone) == pytest.approx(3 * (0.1 + 2 * 0.01))


def test_rows_follow_the_pixels_and_nothing_else() -> None:
    encoder, _ = simulated()
    shapes = [TileShape(2, 3), TileShape(3, 2)]
    one, two = encoder(patches_of(shapes), shapes)
    assert not torch.equal(one, two)
    assert torch.equal(encoder(patches_of(shapes)[:6], shapes[:1])[0], one)
    assert made_by("simulated", one.numpy())


def test_a_malformed_request_costs_its_batch_mates_nothing() -> None:
    good = patches_of([TileShape(2, 2)])[None], torch.tensor([[[2, 2]]], dtype=torch.int32)
    bad = good[0], torch.tensor([[[2, 3]]], dtype=torch.int32)
    first, wrong, last = answer(simulated()[0], [good, bad, good])
    assert isinstance(wrong, RequestError)
    assert torch.equal(first, last)


def test_it_loads_from_a_checkpoint_without_weights(tmp_path) -> None:
    write_weightless(TINY, tmp_path)
    encoder = load(ModelSettings(checkpoint=tmp_path, backend="simulated", dtype="bfloat16"))
    (rows,) = encoder(patches_of([TileShape(1, 1)]), [TileShape(1, 1)])
    assert rows.dtype == torch.bfloat16
    assert rows.shape == (TINY.resampler.num_queries, TINY.llm.hidden_size)


class InProcessTriton:
    """Answers as the model in Triton would."""

    def __init__(self, encoder: SimulatedEncoder | VisionEncoder) -> None:
        self._encoder = encoder

    async def infer(self, model, inputs, *, timeout_s):
        (rows,) = answer(self._encoder, [tuple(map(torch.tensor, inputs.values()))])
        return {"EMBEDDING": rows[None].numpy()}


@pytest.mark.parametrize("told", ["torch", "simulated"])
@pytest.mark.parametrize("runs", ["torch", "simulated"])
async def test_a_front_takes_only_what_it_was_told_of(
    config: ModelConfig, encoder: VisionEncoder, tmp_path, told: str, runs: str
) -> None:
    settings = VisionSettings(checkpoint=tmp_path, triton="", backend=told)
    triton = InProcessTriton(encoder if runs == "torch" else simulated()[0])
    preparer = Preparer(config, settings)
    front = VisionFront(simulated_config(config), "f" * 64, preparer, triton, settings)
    encode = asyncio.ensure_future(front.encode(images.file(images.picture(20, 20)), 30))
    if told == runs:
        assert (await encode).embedding.values.shape[1] == config.llm.hidden_size
    else:
        with pytest.raises(UnavailableError, match="backend"):
            await encode
    preparer.close()
