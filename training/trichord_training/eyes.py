"""Vision's first phase: the tower and the resampler learn to caption drawn pictures, token by token.

Positions are learnt as a mixture of a few waves, so that also cells of the table that no picture in training used
have one. Knows no language model but its token embeddings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from trichord.media.slicing import TileShape, plan_slices
from trichord.model_config import ModelConfig
from trichord_training.device import in_bfloat16
from trichord_training.embedding_head import EmbeddingHead
from vision_encoder.positions import position_ids
from vision_encoder.resampler import Resampler
from vision_encoder.tower import VisionTower

WAVES = 12
"""Wavelengths along each axis that positions are mixed from: from 4 tables to 1/8 of one."""

_PICTURE_SHAPES = ((1, 1), (1, 1), (2, 1), (4, 3))
"""Width to height."""


class Eyes(nn.Module):
    """Tower and resampler, trained; exported by ``tensors``."""

    waves: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vpm = VisionTower(config.vision)
        self.resampler = Resampler(
            config.resampler, vision_size=config.vision.hidden_size, hidden_size=config.llm.hidden_size
        )
        self.vpm.embeddings.position_embedding.weight.requires_grad_(False)
        side = config.vision.positions_per_side
        self.register_buffer("waves", position_waves(side), persistent=False)
        self.mixture = nn.Parameter(torch.randn(4 * WAVES, config.vision.hidden_size) * 0.15)
        self._seed()

    def _seed(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and "position" not in name and "mixture" not in name:
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 * 0.7)
        nn.init.normal_(self.resampler.query, std=1.0)

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Rows [N, Q, D] of tiles [N, L, 3 * patch * patch], all of ``grid`` (height, width) patches."""
        height, width = grid
        ids = torch.from_numpy(position_ids(height, width, self.config.vision.positions_per_side).copy())
        positions = self.waves[ids.to(patches.device)] @ self.mixture
        embeddings = self.vpm.embeddings
        states = functional.linear(
            patches, embeddings.patch_embedding.weight.flatten(1), embeddings.patch_embedding.bias
        )
        states = (states + positions).flatten(0, 1)
        states = self.vpm.encoder(states, [height * width] * len(patches))
        states = self.vpm.post_layernorm(states).view(len(patches), height * width, -1)
        return self.resampler(states, height, width)  # type: ignore[no-any-return]

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the checkpoint, by their names there, with the table of positions written out."""
        self.vpm.embeddings.position_embedding.weight.copy_(self.waves @ self.mixture)
        named = {f"vision.{name}": value for name, value in self.state_dict().items()}
        return {name: value for name, value in named.items() if "mixture" not in name}


def position_waves(side: int) -> Tensor:
    """[side * side, 4 * WAVES]: sines and cosines of the row and of the column of each cell."""
    place = torch.arange(side) / side
    frequencies = 0.25 * 2.0 ** torch.linspace(0, 5, WAVES)
    angle = 2 * torch.pi * place[:, None] * frequencies
    axis = torch.cat([angle.sin(), angle.cos()], -1)
    rows, cols = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, cols], -1).flatten(0, 1)


def picture_grids(config: ModelConfig) -> tuple[TileShape, ...]:
    """Patches (height, width) of pictures of some shapes, as the service scales them; a batch is of one of these."""
    return tuple(
        plan_slices(width, height, config.slicing, config.vision.patch_size).tile_shapes[0]
        for width, height in _PICTURE_SHAPES
    )


def as_patches(pixels: npt.NDArray[np.uint8], patch: int) -> Tensor:
    """Patches [N, L, 3 * patch * patch], -1 to 1, of pictures [N, height, width, 3]; cut as the service does."""
    count, height, width, _ = pixels.shape
    grid = pixels.reshape(count, height // patch, patch, width // patch, patch, 3).transpose(0, 1, 3, 5, 2, 4)
    flat = grid.reshape(count, (height // patch) * (width // patch), -1)
    return torch.from_numpy(flat.astype(np.float32) / 127.5 - 1)


class Captioner(nn.Module):
    """The eyes and what reads them."""

    def __init__(self, config: ModelConfig, embeddings_VD: Tensor) -> None:
        super().__init__()
        self.eyes = Eyes(config)
        self.head = EmbeddingHead(embeddings_VD)

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Logits float32 [N, Q, V]; see ``Eyes.forward``."""
        with in_bfloat16(patches.device):
            rows = self.eyes(patches, grid)
        return self.head(rows)  # type: ignore[no-any-return]
