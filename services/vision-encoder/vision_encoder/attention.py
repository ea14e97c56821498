"""Multi-head attention over projected states: what the tower's and the resampler's layers share. No parameters."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def attend(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int) -> Tensor:
    """Mixed values [N, Q, D] of queries [N, Q, D] over keys and values [N, L, D]; scaled by (D / num_heads)^-0.5."""
    q, k, v = (
        states.view(*states.shape[:-1], num_heads, -1).transpose(1, 2) for states in (queries, keys, values)
    )  # [N, heads, Q or L, D / heads]
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
