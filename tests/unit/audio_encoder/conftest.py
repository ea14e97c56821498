"""Small audio towers with random weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from audio_encoder.encoder import AudioEncoder
from audio_encoder.tower import AudioTower
from trichord.checkpoint.presets import PRESETS
from trichord.model_config import AudioConfig

torch.set_num_threads(1)

HIDDEN_SIZE = PRESETS["tiny"].llm.hidden_size


@pytest.fixture(scope="session")
def audio_config() -> AudioConfig:
    """Two seconds of context, so that several windows are cheap."""
    return AudioConfig(n_mels=80, n_ctx=100, n_state=32, n_head=4, n_layer=2, avg_pool=True, add_bos_eos=True)


@pytest.fixture(scope="session")
def make_tower() -> Callable[[AudioConfig], AudioTower]:
    """Random weights of a spread at which every part of the tower shows in its output."""

    def make(config: AudioConfig) -> AudioTower:
        generator = torch.Generator().manual_seed(7)
        tower = AudioTower(config, HIDDEN_SIZE).eval().requires_grad_(False)
        for parameter in tower.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
        return tower

    return make


@pytest.fixture(scope="session")
def encoder(audio_config: AudioConfig, make_tower: Callable[[AudioConfig], AudioTower]) -> AudioEncoder:
    return AudioEncoder(make_tower(audio_config), audio_config)
