"""Small vision modules with random weights, and images made on the spot."""

from __future__ import annotations

import pytest
import torch

from trichord.checkpoint.presets import PRESETS
from trichord.model_config import ModelConfig
from vision_encoder.encoder import VisionEncoder

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    return PRESETS["tiny"]


@pytest.fixture(scope="session")
def encoder(config: ModelConfig) -> VisionEncoder:
    """Random weights of a spread at which every part of the model shows in its output."""
    generator = torch.Generator().manual_seed(7)
    module = VisionEncoder(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module
