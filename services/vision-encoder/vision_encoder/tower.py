"""The SigLIP vision tower in NaViT style: patches of some tiles in, a state for each patch out.

SigLIP-SO400M (arXiv 2303.15343) without its pooling head, for tiles of any shape packed one after another
(arXiv 2307.06304). Every tile attends to itself alone. Names of parameters are those of the published checkpoint. Knows
nothing of images, slices or the resampler.

Shapes: T patches of all tiles, D width of the tower; ``lengths`` are the patches of each tile, and sum to T. Where
tiles are padded to one length L, ``seen``, bool [tiles, L], marks the patches that they have; what comes of the padding
is for nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from trichord.model_config import VisionConfig
from vision_encoder.attention import attend_packed

CHANNELS = 3
MIDDLE = 127.5
"""Pixel values 0..255 become (x - 127.5) / 127.5: in [-1, 1], and x - 127.5 is exact in bfloat16."""


class VisionTower(nn.Module):
    """Pre-norm transformer with a final norm over all patch states."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = PatchEmbeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, patches: Tensor, position_ids: Tensor, lengths: Sequence[int], seen: Tensor | None = None
    ) -> Tensor:
        """States [T, D] of normalised patches [T, 3 * patch * patch] at positions [T] of the learned table."""
        states: Tensor = self.embeddings(patches, position_ids)
        states = self.encoder(states, lengths, seen)
        return self.post_layernorm(states)  # type: ignore[no-any-return]


class PatchEmbeddings(nn.Module):
    """A linear map of each patch, plus its learned position."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        # Stored as a convolution; over patches that are already cut out it is a matrix product.
        self.patch_embedding = nn.Conv2d(CHANNELS, config.hidden_size, config.patch_size, config.patch_size)
        self.position_embedding = nn.Embedding(config.positions_per_side**2, config.hidden_size)

    def forward(self, patches: Tensor, position_ids: Tensor) -> Tensor:
        """[T, 3 * patch * patch] and [T] to [T, D]."""
        weight = self.patch_embedding.weight.flatten(1)
        return functional.linear(patches, weight, self.patch_embedding.bias) + functional.embedding(
            position_ids, self.position_embedding.weight
        )


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, states: Tensor, lengths: Sequence[int], seen: Tensor | None = None) -> Tensor:
        """[T, D] to [T, D]."""
        for layer in self.layers:
            states = layer(states, lengths, seen)
        return states


class EncoderLayer(nn.Module):
    """Attention and MLP, each behind its norm and around its residual."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = SelfAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, states: Tensor, lengths: Sequence[int], seen: Tensor | None = None) -> Tensor:
        """[T, D] to [T, D]."""
        states = states + self.self_attn(self.layer_norm1(states), lengths, seen)
        return states + self.mlp(self.layer_norm2(states))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Multi-head attention of a tile's patches to one another."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor, lengths: Sequence[int], seen: Tensor | None = None) -> Tensor:
        """[T, D] to [T, D]."""
        q, k, v = self.q_proj(states), self.k_proj(states), self.v_proj(states)
        mixed = attend_packed(q, k, v, self.num_heads, lengths, seen)
        return self.out_proj(mixed)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear maps with the tanh form of GELU between."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """[T, D] to [T, D]."""
        return self.fc2(functional.gelu(self.fc1(states), approximate="tanh"))  # type: ignore[no-any-return]


def normalised(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixel values, uint8, as the tower takes them."""
    return (pixels.to(dtype) - MIDDLE) / MIDDLE
