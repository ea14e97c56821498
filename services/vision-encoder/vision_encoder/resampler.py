"""The perceiver resampler: any number of patch states of a tile in, a fixed number of rows of the LLM's width out.

One cross-attention layer with learned queries (arXiv 2502.15803, section 3.2; arXiv 2204.14198, section 3.1). Keys
carry the patch's place in the tile as two-dimensional sines and cosines; queries and values do not. Names of parameters
are those of the published checkpoint. Knows nothing of the tower's layers.

Shapes: N tiles of H x W patches, Q queries, V width of the tower, D width of the LLM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trichord.model_config import ResamplerConfig
from vision_encoder.attention import attend

LONGEST_PERIOD = 10_000.0
"""Base of the sinusoids' wavelengths (arXiv 1706.03762, section 3.5)."""


class Resampler(nn.Module):
    """Rows [N, Q, D] from patch states [N, H * W, V]."""

    def __init__(self, config: ResamplerConfig, *, vision_size: int, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(config.num_queries, hidden_size))
        self.kv_proj = nn.Linear(vision_size, hidden_size, bias=False)
        self.attn = CrossAttention(hidden_size, config.num_attention_heads)
        self.ln_q = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.ln_kv = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.ln_post = nn.LayerNorm(hidden_size, eps=config.layer_norm_eps)
        self.proj = nn.Parameter(torch.zeros(hidden_size, hidden_size))

    def forward(self, states: Tensor, height: int, width: int) -> Tensor:
        """[N, H * W, V] to [N, Q, D]; patches are row-major."""
        return self.rows(states, sincos_2d(height, width, len(self.proj), states.device))

    def rows(self, states: Tensor, positions: Tensor, seen: Tensor | None = None) -> Tensor:
        """[N, L, V] at positions [L, D] or [N, L, D] to [N, Q, D]; ``seen``: see ``attention.attend``."""
        values = self.ln_kv(self.kv_proj(states))
        rows = self.attn(self.ln_q(self.query), values + positions.to(values.dtype), values, seen)
        return self.ln_post(rows) @ self.proj  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Multi-head attention of the same queries to each tile's keys; projections packed as query, key, value."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * hidden_size, hidden_size))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
        """Queries [Q, D], keys and values [N, L, D] to [N, Q, D]."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            functional.linear(states, weight, bias)
            for states, weight, bias in zip((queries, keys, values), weights, biases, strict=True)
        )
        mixed = attend(q.expand(len(k), -1, -1), k, v, self.num_heads, seen)
        return self.out_proj(mixed)  # type: ignore[no-any-return]


def sincos_2d(height: int, width: int, size: int, device: torch.device) -> Tensor:
    """Positions [height * width, size], float32: half of the channels from the column, half from the row.

    Each half is sines, then cosines, of the index at wavelengths that grow geometrically. Indices are not scaled to the
    tile, so any shape has positions.
    """
    cols = sincos(width, size // 2, device).expand(height, -1, -1)
    rows = sincos(height, size // 2, device)[:, None].expand(-1, width, -1)
    return torch.cat([cols, rows], dim=-1).flatten(0, 1)


def sincos(count: int, size: int, device: torch.device) -> Tensor:
    """[count, size]: float32 sines and cosines of 0 .. count - 1, made in double, as their arguments reach hundreds."""
    channel = torch.arange(size // 2, dtype=torch.float64, device=device)
    index = torch.arange(count, dtype=torch.float64, device=device)
    angle = index[:, None] * LONGEST_PERIOD ** (-channel / (size // 2))
    return torch.cat([angle.sin(), angle.cos()], dim=-1).float()
