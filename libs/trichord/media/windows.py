"""How a sound is cut into windows, and what each window costs in tokens.

Pure arithmetic on numbers of samples: the encoder, its front and ``trichord tokens`` must agree on it. Knows no audio
formats and no torch. Source: Whisper's front end (arXiv 2212.04356, section 2.2: 25 ms frames every 10 ms, a stride-2
convolution) and the pooling and framing of the audio tower (arXiv 2502.15803, sections 3.2 and 4.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from trichord.errors import MediaError
from trichord.model_config import AudioConfig

SAMPLE_RATE = 16_000
"""Samples per second of every sound that a tower hears."""

HOP_SAMPLES = 160
"""Samples between two mel frames: 10 ms."""

POSITION_SAMPLES = 2 * HOP_SAMPLES
"""Samples between two positions behind the stride-2 convolution: 20 ms."""

MIN_WINDOW_SAMPLES = 3 * HOP_SAMPLES
"""Shortest window, 30 ms: three mel frames are two positions are one pooled row."""


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a sound that is encoded on its own."""

    start: int
    """Its first sample."""
    stop: int
    """One past its last sample."""
    tokens: int
    """Embedding rows it becomes, begin and end rows included."""


def window_samples(config: AudioConfig) -> int:
    """Samples of a whole window: 480 000 (30 s) for the 1 500 positions of Whisper."""
    return config.n_ctx * POSITION_SAMPLES


def num_positions(num_samples: int) -> int:
    """Positions behind the convolutions of a window of ``num_samples``: 50 a second."""
    return (num_samples // HOP_SAMPLES + 1) // 2


def window_tokens(num_samples: int, config: AudioConfig) -> int:
    """Embedding rows of one window of ``num_samples``, begin and end rows included."""
    rows = num_positions(num_samples)
    if config.avg_pool:
        rows //= 2
    return rows + 2 if config.add_bos_eos else rows


def cut(num_samples: int, config: AudioConfig) -> tuple[Window, ...]:
    """The consecutive windows of a sound of ``num_samples`` at 16 kHz, in order.

    All are whole but the last. A last one shorter than 30 ms is dropped: it has no row of its own, and nothing that is
    said fits in it. Raises MediaError if nothing is left.
    """
    whole = window_samples(config)
    ends = ((start, min(start + whole, num_samples)) for start in range(0, num_samples, whole))
    windows = tuple(
        Window(start, stop, window_tokens(stop - start, config))
        for start, stop in ends
        if stop - start >= MIN_WINDOW_SAMPLES
    )
    if not windows:
        raise MediaError("The sound is shorter than 30 ms. Send a longer one.", field="audio")
    return windows


def tokens_of_seconds(seconds: float, config: AudioConfig) -> int:
    """Embedding rows of a sound of that length, all windows together. Raises MediaError if it is too short."""
    if not math.isfinite(seconds):
        raise MediaError("The length of a sound is a finite number of seconds.", field="audio")
    return sum(window.tokens for window in cut(round(seconds * SAMPLE_RATE), config))
