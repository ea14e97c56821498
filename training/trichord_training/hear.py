"""Audio's first phase as a task: clips in noise, written down by rows that are scored as if they were embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.ears import Listener, with_codebook
from trichord_training.recipe import Recipe
from trichord_training.transcription import Transcription

TENSORS_FILE = "tensors.safetensors"


class Hear(Transcription):
    """Teaches the audio tower and a linear projection to transcribe."""

    module: Listener

    def __init__(self, config: ModelConfig, base: Base, recipe: Recipe, clips: Path, device: torch.device) -> None:
        super().__init__(config, base, recipe, clips)
        self._has_codebook = config.audio.codebook_size > 0
        torch.manual_seed(recipe.seed)
        self._teach(new_listener(config, base, self._vocabulary), device)

    def export(self, directory: Path) -> None:
        """Writes the tower's and the projection's tensors, in the form that the checkpoint has."""
        tensors: Mapping[str, Tensor] = self.module.ears.state_dict()
        save_ears(with_codebook(self.module, self._pause_1D) if self._has_codebook else tensors, directory)


def save_ears(tensors: Mapping[str, Tensor], directory: Path) -> None:
    """Writes an audio tower's tensors by the checkpoint's names, bfloat16."""
    stored = {f"audio.audio.{name}": value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}
    save_file(stored, directory / TENSORS_FILE)


def new_listener(config: ModelConfig, base: Base, vocabulary: Sequence[int]) -> Listener:
    """Whisper's encoder, and a projection whose rows all start close to the middle of the embeddings."""
    listener = Listener(config, base.embeddings(vocabulary))
    listener.ears.load_state_dict(base.tensors("audio.audio."))
    listener.ears.positional_embedding.requires_grad_(False)
    proj = listener.proj
    nn.init.normal_(proj.weight, std=0.05 * proj.in_features**-0.5)
    with torch.no_grad():
        proj.bias.copy_(listener.head.learned[0])
    return listener
