"""From recordings to what the tower hears: several clips of about one length as one batch of spectrograms.

Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from audio_encoder.mel import LogMel
from trichord.media.windows import POSITION_SAMPLES
from trichord_training.clips import Clip
from trichord_training.speech import Samples, with_noise

_ROW_SAMPLES = 2 * POSITION_SAMPLES
_MAX_SILENCE = 3200
_FULL_SCALE = np.float32(32768)
_MASKS, _MAX_MASKED_BANDS, _MAX_MASKED_FRAMES = 2, 12, 25


def as_samples(clip: Clip) -> Samples:
    """The clip as float32."""
    return clip.pcm.astype(np.float32) / _FULL_SCALE


def heard_in_noise(clips: Sequence[Clip], mel: LogMel, rng: np.random.Generator) -> Tensor:
    """Spectrograms [B, M, 2 T] of clips with silence around them, noise, and parts masked (arXiv 1904.08779).

    All have the length of the longest.
    """
    longest = max(len(clip.pcm) for clip in clips) + int(rng.integers(_MAX_SILENCE))
    length = -(-longest // _ROW_SAMPLES) * _ROW_SAMPLES
    spectrograms = [_spectrogram(with_noise(_placed(clip, length, rng), rng), mel) for clip in clips]
    return torch.stack([_masked(spectrogram, rng) for spectrogram in spectrograms])


def heard_alone(clip: Clip, mel: LogMel) -> Tensor:
    """The spectrogram [1, M, 2 T] of a clip as it is."""
    return _spectrogram(as_samples(clip), mel)[None]


def _placed(clip: Clip, length: int, rng: np.random.Generator) -> Samples:
    samples = as_samples(clip)
    start = int(rng.integers(min(length - len(samples), _MAX_SILENCE) + 1))
    return np.pad(samples, (start, length - len(samples) - start))


def _spectrogram(samples: Samples, mel: LogMel) -> Tensor:
    positions = len(samples) // _ROW_SAMPLES * 2
    return mel(torch.from_numpy(samples))[:, : 2 * positions]


def _masked(spectrogram: Tensor, rng: np.random.Generator) -> Tensor:
    bands, frames = spectrogram.shape
    quiet = spectrogram.mean()
    for _ in range(_MASKS):
        width = int(rng.integers(_MAX_MASKED_BANDS))
        first = int(rng.integers(bands - width))
        spectrogram[first : first + width] = quiet
    width = min(int(rng.integers(_MAX_MASKED_FRAMES)), frames // 4)
    first = int(rng.integers(frames - width))
    spectrogram[:, first : first + width] = quiet
    return spectrogram
