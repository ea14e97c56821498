"""The audio encoder: windows of samples in, embedding rows out, and how it is loaded.

The one rule of what a window becomes: its log-mel spectrogram is cropped to its own length, and it is encoded as if
alone. Windows of the same length run together, and on a GPU short ones that are padded to the same; a window's rows do
not depend on its company beyond rounding. Knows nothing of files, requests or Triton.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from audio_encoder.mel import LogMel
from audio_encoder.recorded import RecordedTower
from audio_encoder.tower import AudioTower
from trichord.checkpoint.layout import PREFIXES
from trichord.checkpoint.weights import load_into
from trichord.cuda_graphs import Capture, capture_for
from trichord.media.windows import num_positions, window_samples
from trichord.model_config import AudioConfig, ModelConfig
from trichord.settings import ModelSettings


class AudioEncoder:
    """The tower and its ear."""

    def __init__(self, tower: AudioTower, config: AudioConfig, capture: Capture | None = None) -> None:
        """``capture``: how passes over short windows are recorded, for which these are padded; without it none is."""
        self.window_samples = window_samples(config)
        """Most samples of a window."""
        self._tower = tower.eval().requires_grad_(False)
        self._log_mel = LogMel(config.n_mels, self.window_samples, tower.conv1.weight.device)
        self._recorded = RecordedTower(tower, config, capture) if capture else None

    @torch.inference_mode()
    def encode(self, windows: Sequence[Tensor]) -> list[Tensor]:
        """The rows [tokens, hidden] of each window, in order, on the encoder's device and in its dtype.

        A window is float32 [n], mono 16 kHz, of 480 to ``window_samples`` samples; ``trichord.media.windows`` tells how
        many tokens it becomes.
        """
        rows: dict[int, Tensor] = {}
        short: dict[int, Tensor] = {}
        for positions, members in by_positions(windows).items():
            mels = [self._heard(windows[index], positions) for index in members]
            if self._recorded and positions <= self._recorded.longest:
                short.update(zip(members, mels, strict=True))
            else:
                rows.update(zip(members, self._tower(torch.stack(mels)), strict=True))
        if self._recorded:
            rows.update(zip(short, self._recorded(list(short.values())), strict=True))
        return [rows[index] for index in range(len(windows))]

    def _heard(self, window: Tensor, positions: int) -> Tensor:
        """A window's log-mel spectrogram [n_mels, 2 * positions]."""
        weight = self._tower.conv1.weight
        return self._log_mel(window.to(weight.device))[:, : 2 * positions].to(weight.dtype)


def load(settings: ModelSettings, device: torch.device | str = "cpu") -> AudioEncoder:
    """The encoder of a checkpoint, ready to run. Raises CheckpointError naming the tensor that is wrong."""
    config = ModelConfig.read(settings.checkpoint)
    with torch.device("meta"):
        tower = AudioTower(config.audio, config.llm.hidden_size)
    load_into(tower, settings.checkpoint, PREFIXES["audio"], getattr(torch, settings.dtype or config.dtype))
    capture = capture_for(torch.device(device)) if torch.device(device).type == "cuda" else None
    return AudioEncoder(tower.to(device), config.audio, capture)


def by_positions(windows: Sequence[Tensor]) -> dict[int, list[int]]:
    """The passes over windows: indices of those of each length after the convolutions."""
    groups = defaultdict(list)
    for index, window in enumerate(windows):
        groups[num_positions(len(window))].append(index)
    return groups
