"""Windows to rows: the arithmetic holds, company does not matter, checkpoints load, one bad request harms no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audio_encoder import batch
from audio_encoder.encoder import AudioEncoder, load
from audio_encoder.tower import AudioTower
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError, RequestError
from trichord.media.windows import window_samples, window_tokens
from trichord.model_config import AudioConfig
from trichord.settings import ModelSettings


def sound(num_samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("avg_pool", [True, False])
@pytest.mark.parametrize("add_bos_eos", [True, False])
@pytest.mark.parametrize("num_samples", [480, 639, 640, 800, 15_999, 16_000, 31_999, 32_000])
def test_rows_are_as_many_as_the_arithmetic_says(
    audio_config: AudioConfig,
    make_tower: Callable[[AudioConfig], AudioTower],
    avg_pool: bool,
    add_bos_eos: bool,
    num_samples: int,
) -> None:
    config = audio_config.model_copy(update={"avg_pool": avg_pool, "add_bos_eos": add_bos_eos})
    (rows,) = AudioEncoder(make_tower(config), config).encode([sound(num_samples)])
    assert rows.shape == (window_tokens(num_samples, config), PRESETS["tiny"].llm.hidden_size)
    assert bool(rows.isfinite().all())


@given(lengths=st.lists(st.sampled_from([480, 1_000, 16_000, 16_100, 31_999, 32_000]), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_rows_do_not_depend_on_the_batch(encoder: AudioEncoder, lengths: list[int]) -> None:
    windows = [sound(length, seed) for seed, length in enumerate(lengths)]
    alone = [encoder.encode([window])[0] for window in windows]
    for together, expected in zip(encoder.encode(windows), alone, strict=True):
        torch.testing.assert_close(together, expected, rtol=1e-5, atol=1e-5)


def test_what_is_heard_shows_in_the_rows(encoder: AudioEncoder) -> None:
    one, other = encoder.encode([sound(16_000, 1), sound(16_000, 2)])
    assert not torch.allclose(one[1:-1], other[1:-1], atol=1e-2)
    torch.testing.assert_close(one[[0, -1]], other[[0, -1]])


def test_a_malformed_request_costs_the_others_nothing(encoder: AudioEncoder, audio_config: AudioConfig) -> None:
    good = sound(16_000)[None]
    bad = [
        sound(479)[None],
        sound(window_samples(audio_config) + 1)[None],
        sound(32_000).reshape(2, 16_000),
        sound(16_000),
        torch.full((1, 16_000), torch.nan),
        torch.full((1, 16_000), torch.inf),
    ]
    answers = batch.answer(encoder, [good, *bad, good])
    assert all(isinstance(answer, RequestError) and answer.field == "PCM" for answer in answers[1:-1])
    torch.testing.assert_close(answers[0], encoder.encode([good[0]])[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(answers[-1], answers[0])
    assert all(isinstance(answer, RequestError) for answer in batch.answer(encoder, bad))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    init(PRESETS["tiny"], directory, seed=0)
    return directory


@pytest.mark.parametrize(("dtype", "expected"), [(None, torch.float32), ("bfloat16", torch.bfloat16)])
def test_load(checkpoint: Path, dtype: str | None, expected: torch.dtype) -> None:
    encoder = load(ModelSettings(checkpoint=checkpoint, dtype=dtype))
    rows, again = encoder.encode([sound(8_000), sound(8_000)])
    assert rows.dtype == expected
    assert rows.shape == (14, PRESETS["tiny"].llm.hidden_size)
    torch.testing.assert_close(rows, again)
    single = load(ModelSettings(checkpoint=checkpoint)).encode([sound(8_000)])[0]
    torch.testing.assert_close(rows.float(), single, rtol=0.05, atol=0.05)


def test_a_checkpoint_of_other_sizes_is_refused_by_tensor(checkpoint: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in checkpoint.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = PRESETS["tiny"]
    config.model_copy(update={"audio": config.audio.model_copy(update={"n_mels": 128})}).write(other)
    with pytest.raises(CheckpointError) as caught:
        load(ModelSettings(checkpoint=other))
    assert caught.value.tensor == "audio.audio.conv1.weight"
