"""From what a person calls a checkpoint to its directory and config.

A name without a slash is a checkpoint under ``$TRICHORD_HOME/checkpoints``; anything with one is a path.
"""

from __future__ import annotations

from pathlib import Path

from trichord import home
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig


def directory_of(name: str) -> Path:
    """Where the checkpoint of that name or path is, or would be."""
    return Path(name).absolute() if "/" in name or name.startswith(".") else home.checkpoints() / name


def config_of(name: str) -> ModelConfig:
    """The config of a checkpoint that is there, or else of the preset. Raises CheckpointError."""
    directory = directory_of(name)
    if directory.is_dir():
        return ModelConfig.read(directory)
    if name in PRESETS:
        return PRESETS[name]
    raise CheckpointError(f"There is no checkpoint {name}, and no such preset. Presets: {', '.join(PRESETS)}.")
