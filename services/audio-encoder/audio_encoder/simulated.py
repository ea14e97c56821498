"""An audio encoder that only waits: the shapes and the batching of the real one, seeded rows, no weights.

Takes ``AudioEncoder``'s place behind ``batch``. Knows no Triton.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audio_encoder.encoder import by_positions
from trichord.media.windows import SAMPLE_RATE, window_samples, window_tokens
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings
from trichord.simulation import profile
from trichord.simulation.latency import AudioLatency
from trichord.simulation.rows import seeded_rows


class SimulatedEncoder:
    """Waits as long as ``latency`` says for each pass."""

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype,
        latency: AudioLatency,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.window_samples = window_samples(config.audio)
        self._config, self._dtype, self._latency, self._sleep = config, dtype, latency, sleep

    def encode(self, windows: Sequence[Tensor]) -> list[Tensor]:
        """See ``AudioEncoder.encode``; the rows of equal windows are equal."""
        for members in by_positions(windows).values():
            num_samples = sum(len(windows[index]) for index in members)
            self._sleep(self._latency.pass_s(num_samples / SAMPLE_RATE))
        return [self._rows(window) for window in windows]

    def _rows(self, window: Tensor) -> Tensor:
        num_rows = window_tokens(len(window), self._config.audio)
        rows = seeded_rows(window.numpy().tobytes(), num_rows, self._config.llm.hidden_size)
        return torch.from_numpy(rows).to(self._dtype)


def load(settings: ModelSettings) -> SimulatedEncoder:
    """The simulated audio module of a checkpoint, of which only the config is read.

    Raises CheckpointError or SettingsError.
    """
    config = ModelConfig.read(settings.checkpoint)
    dtype = getattr(torch, settings.dtype or config.dtype)
    return SimulatedEncoder(config, dtype, profile.told(settings).audio)
