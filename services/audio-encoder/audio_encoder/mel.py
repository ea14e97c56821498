"""The log-mel spectrogram that Whisper hears (arXiv 2212.04356, section 2.2).

Knows no model and no checkpoint.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trichord.media.windows import HOP_SAMPLES, SAMPLE_RATE

FFT_SAMPLES = 400
"""A frame of the Fourier transform: 25 ms."""

NUM_BINS = FFT_SAMPLES // 2 + 1
"""Its frequencies: 0, 40, ... 8 000 Hz."""

SILENCE = 1e-10
"""Least power that is told from none."""

RANGE_DECADES = 8.0
"""Powers further than this below a window's loudest are cut off."""


class LogMel:
    """Turns the samples of one window into its log-mel spectrogram."""

    def __init__(self, n_mels: int, window_samples: int, device: torch.device | str = "cpu") -> None:
        self._window_samples = window_samples
        self._filters = mel_filters(n_mels).to(device)
        self._hann = torch.hann_window(FFT_SAMPLES, periodic=True, dtype=torch.float64, device=device)

    def __call__(self, samples: Tensor) -> Tensor:
        """float32 [n <= window_samples], mono 16 kHz, to float32 [n_mels, frames], frames >= n / 160.

        Equal to what the window padded with silence to its whole length gives, without the frames that hear nothing
        but the padding: those are at the floor, and the loudest frame is never among them. In float64, because eight
        decades of power are more than a float32 transform tells from its own rounding.
        """
        whole_frames = len(samples) // HOP_SAMPLES
        length = min((whole_frames + 3) * HOP_SAMPLES, self._window_samples)  # the last frame reaches 200 samples ahead
        padded = torch.nn.functional.pad(samples.to(self._hann), (0, length - len(samples)))
        spectrum = torch.stft(
            padded, FFT_SAMPLES, HOP_SAMPLES, window=self._hann, center=True, pad_mode="reflect", return_complex=True
        )
        power = spectrum[:, :-1].abs().square()
        log_power = (self._filters @ power).clamp(min=SILENCE).log10()
        floored = log_power.maximum(log_power.max() - RANGE_DECADES)
        return ((floored + 4.0) / 4.0).float()


def mel_filters(n_mels: int) -> Tensor:
    """Triangular filters float64 [n_mels, bins], equally spaced in mel from 0 to 8 kHz, each of unit area in Hz.

    Source: M. Slaney, Auditory Toolbox, Interval Research technical report 1998-010.
    """
    edges_mel = torch.linspace(0.0, _mel(SAMPLE_RATE / 2), n_mels + 2, dtype=torch.float64)
    edges_hz = _hz(edges_mel)
    lower, centre, upper = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    bins_hz = torch.linspace(0.0, SAMPLE_RATE / 2, NUM_BINS, dtype=torch.float64)
    rising = (bins_hz - lower) / (centre - lower)
    falling = (upper - bins_hz) / (upper - centre)
    return rising.minimum(falling).clamp(min=0.0) * 2.0 / (upper - lower)


# Slaney's mel scale: linear up to 1 kHz, then 27 steps to each factor of 6.4.
_LINEAR_HZ = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = math.log(6.4) / 27.0


def _mel(hz: float) -> float:
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP if hz > _BREAK_HZ else hz / _LINEAR_HZ


def _hz(mel: Tensor) -> Tensor:
    return torch.where(mel > _BREAK_MEL, _BREAK_HZ * torch.exp((mel - _BREAK_MEL) * _LOG_STEP), mel * _LINEAR_HZ)
