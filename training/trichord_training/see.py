"""Vision's first phase as a task: pictures that grow harder as they are read right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.captions import UNSAID, caption, caption_vocabulary
from trichord_training.device import device_of
from trichord_training.eyes import Captioner, as_patches, picture_grids
from trichord_training.optimizers import adamw, muon
from trichord_training.pictures import Difficulty, Thing, draw, some_thing
from trichord_training.recipe import Recipe
from trichord_training.splits import Split, sample_rng

NUM_VALIDATED = 512
VALIDATED_AT_ONCE = 128
TENSORS_FILE = "tensors.safetensors"
_HARDER_ABOVE = 0.8
_HARDER_BY = 0.004
_LEVEL = "level"


class See:
    """Teaches the tower and the resampler to caption."""

    def __init__(self, config: ModelConfig, base: Base, recipe: Recipe, device: torch.device) -> None:
        self._config, self._recipe, self._tokenizer = config, recipe, base.tokenizer
        self._grids = picture_grids(config)
        vocabulary = caption_vocabulary(base.tokenizer)
        self._index = {token: index for index, token in enumerate(vocabulary)}
        torch.manual_seed(recipe.seed)
        self.module = Captioner(config, base.embeddings(vocabulary)).to(device)
        named = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        matrices = {name: value for name, value in named.items() if _is_hidden_matrix(name, value)}
        others = {name: value for name, value in named.items() if name not in matrices}
        self.optimizers = [muon(matrices, recipe.encoder_learning_rate), adamw(others, recipe.learning_rate)]

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """Cross entropy of every token of the captions."""
        level = progress.get(_LEVEL, 0.0)
        grid = self._grids[step % len(self._grids)]
        first = step * self._recipe.batch_size
        logits, said = self._read(
            "train", range(first, first + self._recipe.batch_size), grid, Difficulty(*3 * [level])
        )
        figures = _figures(logits, said)
        if progress.get("caption", 0.0) > _HARDER_ABOVE * (1 - 0.3 * level):
            progress[_LEVEL] = min(1.0, level + _HARDER_BY)
        return functional.cross_entropy(logits.flatten(0, 1), said.flatten(), ignore_index=UNSAID), figures

    @torch.inference_mode()
    def validate(self) -> Mapping[str, float]:
        """Shares of captions that are right, at full difficulty, in fonts of the validation set."""
        parts = [
            self._read("validation", range(first, first + VALIDATED_AT_ONCE), self._grids[0], Difficulty())
            for first in range(0, NUM_VALIDATED, VALIDATED_AT_ONCE)
        ]
        logits, said = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return _figures(logits, said)

    def export(self, directory: Path) -> None:
        """Writes the tower's and the resampler's tensors."""
        tensors = {name: value.to(torch.bfloat16).contiguous() for name, value in self.module.eyes.tensors().items()}
        save_file(tensors, directory / TENSORS_FILE)

    def _read(
        self, split: Split, indices: range, grid: tuple[int, int], difficulty: Difficulty
    ) -> tuple[Tensor, Tensor]:
        """Logits [N, Q, V] of the pictures of some indices, and what their captions say [N, Q]."""
        patches, said, grid = self._drawn(split, indices, grid, difficulty)
        return self.module(patches, grid), said

    def _drawn(
        self, split: Split, indices: range, grid: tuple[int, int], difficulty: Difficulty
    ) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Patches [N, L, 3 * patch * patch] of the pictures of some indices, their captions [N, Q], and the grid."""
        patch = self._config.vision.patch_size
        pictures, captions = [], []
        for index in indices:
            rng = sample_rng(self._recipe.seed, split, index)
            thing = some_thing(rng, split, difficulty)
            pictures.append(draw(thing, rng, split, (grid[1] * patch, grid[0] * patch), difficulty))
            captions.append(self._caption(thing))
        device = device_of(self.module)
        patches = as_patches(np.stack(pictures), patch).to(device)
        return patches, torch.tensor(captions, device=device), grid

    def _caption(self, thing: Thing) -> list[int]:
        tokens = caption(thing, self._tokenizer, self._config.resampler.num_queries)
        return [UNSAID if token == UNSAID else self._index[token] for token in tokens]


def _is_hidden_matrix(name: str, value: Tensor) -> bool:
    return value.ndim == 2 and any(part in name for part in ("encoder.layers", "attn.", "kv_proj", "resampler.proj"))


def _figures(logits: Tensor, said: Tensor) -> dict[str, float]:
    """Shares of colours, of shapes or kinds, and of whole captions that are right."""
    right = (logits.argmax(-1) == said) | (said == UNSAID)
    return {
        "colour": right[:, 0].float().mean().item(),
        "kind": right[:, 1].float().mean().item(),
        "caption": right.all(-1).float().mean().item(),
    }
