"""The simulated audio encoder stands where the real one does: same shapes, same passes, rows that are seeded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audio_encoder import batch
from audio_encoder.encoder import AudioEncoder
from audio_encoder.settings import AudioSettings
from audio_encoder.simulated import SimulatedEncoder, load
from audio_encoder.whisper import Whisper
from tests.unit.audio_encoder.fakes import InProcessTriton
from trichord.checkpoint.presets import PRESETS
from trichord.errors import RequestError, UnavailableError
from trichord.model_config import AudioConfig, ModelConfig
from trichord.settings import ModelSettings
from trichord.simulation.checkpoint import write_weightless
from trichord.simulation.latency import AudioLatency
from trichord.simulation.rows import made_by

LATENCY = AudioLatency(pass_ms=100, weights_ms=0, second_ms=10)
LENGTHS = st.lists(st.sampled_from([480, 1_000, 16_000, 16_100, 31_999, 32_000]), min_size=1, max_size=6)


@pytest.fixture(scope="session")
def config(audio_config: AudioConfig) -> ModelConfig:
    return PRESETS["tiny"].model_copy(update={"audio": audio_config})


def simulated(config: ModelConfig) -> tuple[SimulatedEncoder, list[float]]:
    """An encoder, and the waits that it will have asked for."""
    waits: list[float] = []
    return SimulatedEncoder(config, torch.float32, LATENCY, waits.append), waits


def sound(num_samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


@given(LENGTHS)
def test_shapes_are_the_real_ones(config: ModelConfig, encoder: AudioEncoder, lengths: list[int]) -> None:
    windows = [sound(length) for length in lengths]
    for rows, real in zip(simulated(config)[0].encode(windows), encoder.encode(windows), strict=True):
        assert (rows.shape, rows.dtype) == (real.shape, real.dtype)


@given(LENGTHS)
def test_it_waits_for_each_length_once_and_for_every_second(config: ModelConfig, lengths: list[int]) -> None:
    encoder, waits = simulated(config)
    encoder.encode([sound(length) for length in lengths])
    passes = len({(length // 160 + 1) // 2 for length in lengths})
    assert len(waits) == passes
    assert sum(waits) == pytest.approx(passes * 0.1 + sum(lengths) / 16_000 * 0.01)


def test_rows_follow_the_sound_and_nothing_else(config: ModelConfig) -> None:
    encoder, _ = simulated(config)
    first, other, again = encoder.encode([sound(16_000), sound(16_000, seed=1), sound(16_000)])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert made_by("simulated", first.numpy())


def test_a_malformed_request_costs_its_batch_mates_nothing(config: ModelConfig) -> None:
    good, bad = sound(16_000)[None], torch.full((1, 16_000), torch.nan)
    first, wrong, last = batch.answer(simulated(config)[0], [good, bad, good])
    assert isinstance(wrong, RequestError)
    assert torch.equal(first, last)


def test_it_loads_from_a_checkpoint_without_weights(tmp_path) -> None:
    write_weightless(PRESETS["tiny"], tmp_path)
    encoder = load(ModelSettings(checkpoint=tmp_path, backend="simulated", dtype="bfloat16"))
    (rows,) = encoder.encode([sound(16_000)])
    assert (rows.dtype, rows.shape) == (torch.bfloat16, (27, 64))


@pytest.mark.parametrize("told", ["torch", "simulated"])
@pytest.mark.parametrize("runs", ["torch", "simulated"])
async def test_a_front_is_ready_only_with_what_it_was_told_of(
    config: ModelConfig, encoder: AudioEncoder, tmp_path, told: str, runs: str
) -> None:
    settings = AudioSettings(checkpoint=tmp_path, triton="", dtype="float32", backend=told)
    whisper = Whisper(InProcessTriton(encoder if runs == "torch" else simulated(config)[0]), config, settings)
    if told == runs:
        assert await whisper.ready()
    else:
        with pytest.raises(UnavailableError, match="backend"):
            await whisper.ready()
