"""The log-mel spectrogram against transformers' feature extractor, an independent implementation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import WhisperFeatureExtractor

from audio_encoder.mel import LogMel, mel_filters

WINDOW_SAMPLES = 480_000
Samples = npt.NDArray[np.float32]


def noise(num_samples: int) -> Samples:
    return np.random.default_rng(1).normal(0, 0.1, num_samples).astype(np.float32)


def tone(num_samples: int) -> Samples:
    return (0.9 * np.sin(np.arange(num_samples) * 2 * np.pi * 440 / 16_000)).astype(np.float32)


def speech_like(num_samples: int) -> Samples:
    """A tone that comes and goes over faint noise: loud and quiet frames, silence at the end."""
    time_s = np.arange(num_samples) / 16_000
    loudness = np.clip(np.sin(2 * np.pi * 1.5 * time_s), 0, None) * (time_s < 0.8 * num_samples / 16_000)
    return (loudness * np.sin(2 * np.pi * 180 * time_s * (1 + 0.2 * time_s)) + 1e-4 * noise(num_samples)).astype(
        np.float32
    )


def silence(num_samples: int) -> Samples:
    return np.zeros(num_samples, np.float32)


@pytest.fixture(scope="module", params=[80, 128])
def reference(request: pytest.FixtureRequest) -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=request.param)


def test_filters(reference: WhisperFeatureExtractor) -> None:
    ours = mel_filters(reference.feature_size).numpy()
    np.testing.assert_allclose(ours, reference.mel_filters.T, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("signal", [noise, tone, speech_like, silence])
@pytest.mark.parametrize("num_samples", [480, 481, 1_599, 12_345, 16_000, 479_360, 479_700, 479_999, 480_000])
def test_spectrogram(reference: WhisperFeatureExtractor, signal: object, num_samples: int) -> None:
    samples = signal(num_samples)
    ours = LogMel(reference.feature_size, WINDOW_SAMPLES)(torch.from_numpy(samples)).numpy()
    theirs = reference(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
    assert num_samples // 160 <= ours.shape[1] <= theirs.shape[1] == 3000
    np.testing.assert_allclose(ours, theirs[:, : ours.shape[1]], atol=1e-4)  # theirs in float32
    padded = np.pad(samples, (0, WINDOW_SAMPLES - num_samples))
    exactly = reference._np_extract_fbank_features(padded[None], "cpu")[0]  # theirs in float64
    np.testing.assert_allclose(ours, exactly[:, : ours.shape[1]], rtol=1e-5, atol=1e-6)


def test_frames_left_out_hear_nothing(reference: WhisperFeatureExtractor) -> None:
    samples = speech_like(16_000)
    ours = LogMel(reference.feature_size, WINDOW_SAMPLES)(torch.from_numpy(samples))
    theirs = reference(samples, sampling_rate=16_000, return_tensors="np").input_features[0]
    assert ours.shape[1] < 110
    assert np.ptp(theirs[:, ours.shape[1] :]) == 0
    assert theirs[:, ours.shape[1] :].max() == pytest.approx(ours.min().item())
