"""What a simulated model is called, so that nobody takes it, or what it makes, for the real one.

Its name ends in ``-simulated``, and its embeddings have a fingerprint that needs no weights and that no decoder but a
simulated one accepts. Knows no file.
"""

from __future__ import annotations

from trichord.checkpoint.digest import EncoderTower, fingerprint_of
from trichord.model_config import Dtype, ModelConfig

SUFFIX = "-simulated"


def simulated(config: ModelConfig) -> ModelConfig:
    """The config of a model that is only simulated: the same but for its name."""
    return config.model_copy(update={"model": config.model + SUFFIX})


def fingerprint(config: ModelConfig, tower: EncoderTower, dtype: Dtype) -> str:
    """The fingerprint of a tower of a ``simulated`` config; its name stands where a digest of weights would."""
    assert config.model.endswith(SUFFIX), "a real model's fingerprint is over its weights"
    return fingerprint_of(config, tower, config.model, dtype)
