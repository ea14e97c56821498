"""Padded and recorded passes against windows alone: padding never shows, and nothing is left of the pass before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from audio_encoder.encoder import AudioEncoder
from audio_encoder.recorded import PASS_POSITIONS, WINDOWS
from audio_encoder.tower import AudioTower
from tests.graphs_lab import tape
from trichord.cuda_graphs import Work, capture_for
from trichord.model_config import AudioConfig

MakeTower = Callable[[AudioConfig], AudioTower]
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def sound(num_samples: int, seed: int = 0, loudness: float = 0.1) -> Tensor:
    return loudness * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def recorded(audio_config: AudioConfig, make_tower: MakeTower) -> AudioEncoder:
    return AudioEncoder(make_tower(audio_config), audio_config, tape)


# Around the end of the only bucket: 64 positions are 20 480 samples and 159 more. Longer ones are not recorded.
lengths = st.sampled_from([480, 1_000, 20_479, 20_480, 20_639, 20_640, 20_960, 32_000]) | st.integers(480, 32_000)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(lengths, min_size=1, max_size=6) | st.lists(lengths, min_size=17, max_size=20))
def test_padded_rows_are_those_of_windows_alone(
    encoder: AudioEncoder, recorded: AudioEncoder, lengths: list[int]
) -> None:
    windows = [sound(length, seed) for seed, length in enumerate(lengths)]
    for padded, window in zip(recorded.encode(windows), windows, strict=True):
        torch.testing.assert_close(padded, encoder.encode([window])[0], **NEAR)


@pytest.mark.parametrize("changes", [{"avg_pool": False}, {"add_bos_eos": False}, {"codebook_size": 9}, {"n_ctx": 60}])
def test_other_shapes_of_tower(audio_config: AudioConfig, make_tower: MakeTower, changes: dict[str, object]) -> None:
    config = audio_config.model_copy(update=changes)
    plain, padded = (AudioEncoder(make_tower(config), config, capture) for capture in (None, tape))
    windows = [sound(length, length) for length in (16_000, 700, 15_500)]
    for rows, window in zip(padded.encode(windows), windows, strict=True):
        torch.testing.assert_close(rows, plain.encode([window])[0], **NEAR)


def test_nothing_is_left_of_the_pass_before(encoder: AudioEncoder, recorded: AudioEncoder) -> None:
    long = [sound(20_000, 1, loudness=1.0), sound(20_000, 2, loudness=1.0)]
    short = [sound(500, 3), sound(900, 4)]
    recorded.encode(long)
    for rows, window in zip(recorded.encode(short), short, strict=True):
        torch.testing.assert_close(rows, encoder.encode([window])[0], **NEAR)


def test_every_bucket_is_recorded_once_and_short_windows_are_replays(
    audio_config: AudioConfig, make_tower: MakeTower
) -> None:
    num_recorded, num_replays = 0, 0

    def capture(work: Work) -> Work:
        nonlocal num_recorded
        num_recorded += 1
        work()

        def replay() -> None:
            nonlocal num_replays
            num_replays += 1
            work()

        return replay

    encoder = AudioEncoder(make_tower(audio_config), audio_config, capture)
    assert (num_recorded, num_replays) == (len(WINDOWS), 0)
    encoder.encode([sound(25_000)])  # longer than any bucket
    assert num_replays == 0
    encoder.encode([sound(600), sound(20_000), sound(25_000)])  # the short two in one pass
    encoder.encode([sound(600)] * (WINDOWS[-1] + 1))  # two: more than fit one
    assert (num_recorded, num_replays) == (len(WINDOWS), 3)


def test_no_pass_is_larger_than_what_is_recorded(audio_config: AudioConfig, make_tower: MakeTower) -> None:
    config = audio_config.model_copy(update={"n_ctx": 300})
    plain, padded = (AudioEncoder(make_tower(config), config, capture) for capture in (None, tape))
    windows = [sound(81_000, seed) for seed in range(PASS_POSITIONS // 256 + 1)]  # 253 positions each
    for rows, expected in zip(padded.encode(windows), plain.encode(windows), strict=True):
        torch.testing.assert_close(rows, expected, **NEAR)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("add_bos_eos", [True, False])
def test_recorded_on_a_gpu(audio_config: AudioConfig, make_tower: MakeTower, add_bos_eos: bool) -> None:
    config = audio_config.model_copy(update={"add_bos_eos": add_bos_eos})
    plain = AudioEncoder(make_tower(config), config)
    recorded = AudioEncoder(make_tower(config).cuda(), config, capture_for(torch.device("cuda")))
    batches = [[sound(500 + 1_800 * (seed % 17), seed) for seed in range(count)] for count in (1, 3, 3, 17)]
    answers = [recorded.encode(windows) for windows in batches]  # all of them, before any is looked at
    for windows, rows in zip(batches, answers, strict=True):
        for row, window in zip(rows, windows, strict=True):
            torch.testing.assert_close(row.cpu(), plain.encode([window])[0], rtol=1e-3, atol=1e-3)
