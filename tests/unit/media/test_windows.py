"""The arithmetic of windows against the published lengths, and its invariants."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trichord.checkpoint.presets import PRESETS
from trichord.errors import MediaError
from trichord.media.windows import (
    MIN_WINDOW_SAMPLES,
    SAMPLE_RATE,
    cut,
    num_positions,
    tokens_of_seconds,
    window_samples,
    window_tokens,
)

POOLED = PRESETS["megrez-3b-omni"].audio
UNPOOLED = POOLED.model_copy(update={"avg_pool": False})
UNFRAMED = POOLED.model_copy(update={"add_bos_eos": False})
CONFIGS = (POOLED, UNPOOLED, UNFRAMED, POOLED.model_copy(update={"n_ctx": 100}))


@pytest.mark.parametrize(
    ("num_samples", "positions", "pooled_rows"),
    [
        (480, 2, 1),
        (1_600, 5, 2),
        (8_000, 25, 12),
        (16_000, 50, 25),
        (80_000, 250, 125),
        (160_000, 500, 250),
        (480_000, 1500, 750),
        # Three sounds that the model's authors publish with their lengths: 1.54 s, 6.39 s, 8.59 s.
        (153 * 160 + 80, 77, 38),
        (638 * 160 + 40, 319, 159),
        (858 * 160 + 40, 429, 214),
    ],
)
def test_published_lengths(num_samples: int, positions: int, pooled_rows: int) -> None:
    assert num_positions(num_samples) == positions
    assert window_tokens(num_samples, POOLED) == pooled_rows + 2
    assert window_tokens(num_samples, UNPOOLED) == positions + 2
    assert window_tokens(num_samples, UNFRAMED) == pooled_rows


@pytest.mark.parametrize(
    ("seconds", "tokens"),
    [(0.03, 3), (0.1, 4), (0.5, 14), (1, 27), (5, 127), (10, 252), (30, 752), (60, 1504), (120, 3008), (45, 752 + 377)],
)
def test_tokens_of_seconds(seconds: float, tokens: int) -> None:
    assert tokens_of_seconds(seconds, POOLED) == tokens


@pytest.mark.parametrize("seconds", [0.02, 0.0299, 0.0, -1.0, -1e300, math.nan, math.inf])
def test_too_short_or_no_length_at_all_is_refused(seconds: float) -> None:
    with pytest.raises(MediaError) as caught:
        tokens_of_seconds(seconds, POOLED)
    assert caught.value.field == "audio"


def test_a_tail_under_30_ms_is_dropped() -> None:
    whole = window_samples(POOLED)
    assert whole == 480_000
    assert len(cut(whole + MIN_WINDOW_SAMPLES - 1, POOLED)) == 1
    assert [window.tokens for window in cut(whole + MIN_WINDOW_SAMPLES, POOLED)] == [752, 3]


@given(num_samples=st.integers(MIN_WINDOW_SAMPLES, 5_000_000), config=st.sampled_from(CONFIGS))
def test_windows_are_consecutive_and_leave_out_at_most_a_tail(num_samples: int, config: object) -> None:
    windows = cut(num_samples, config)
    assert windows[0].start == 0
    assert all(after.start == before.stop for before, after in pairwise(windows))
    assert all(window.stop - window.start == window_samples(config) for window in windows[:-1])
    assert MIN_WINDOW_SAMPLES <= windows[-1].stop - windows[-1].start <= window_samples(config)
    assert 0 <= num_samples - windows[-1].stop < MIN_WINDOW_SAMPLES
    assert all(window.tokens > 0 for window in windows)


@given(num_samples=st.integers(0, 600_000))
def test_positions_are_ceil_of_half_the_frames(num_samples: int) -> None:
    frames = num_samples // 160
    assert num_positions(num_samples) == math.ceil(frames / 2) == (frames - 1) // 2 + 1
    assert window_tokens(num_samples, POOLED) - 2 == (num_positions(num_samples) - 2) // 2 + 1


@given(seconds=st.floats(0.03, 600))
def test_tokens_grow_at_25_a_second(seconds: float) -> None:
    windows = cut(round(seconds * SAMPLE_RATE), POOLED)
    assert tokens_of_seconds(seconds, POOLED) == sum(window.tokens for window in windows)
    assert abs(tokens_of_seconds(seconds, POOLED) - 2 * len(windows) - 25 * seconds) <= len(windows) + 1
