"""Keys, or values, of one layer in the blocks of a cache: as they are, or as int8 with a scale for each row.

A row is what one token has for one key/value head. Its scale is its largest magnitude over 127 (the vector-wise absmax
of arXiv 2208.07339, section 2), found when it is written: so a row never depends on other tokens, nor on the step that
wrote it. Knows blocks and offsets; knows nothing of sequences or of attention.

Shapes: P blocks, K key/value heads, S positions of a block, d head width, N tokens, B tables of M blocks, T = M * S.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST = 127
"""Of int8, and symmetric."""
LEAST_MAGNITUDE = 1e-30
"""What the largest of a row of zeros counts as: its scale must not be zero."""


class PagedRows(NamedTuple):
    """Views of a layer's share of the cache."""

    rows_PKSd: Tensor
    """In the model's type, or int8."""
    scales_PKS: Tensor | None = None
    """float32, of int8 rows."""

    def put(self, blocks_N: Tensor, offsets_N: Tensor, x_NKd: Tensor) -> None:
        """Writes each token's rows to its place."""
        if self.scales_PKS is not None:
            x_NKd, scales_NK = quantised(x_NKd)
            self.scales_PKS[blocks_N, :, offsets_N] = scales_NK
        self.rows_PKSd[blocks_N, :, offsets_N] = x_NKd

    def gather(self, tables_BM: Tensor, dtype: torch.dtype) -> Tensor:
        """The blocks of each table side by side, [B, K, T, d], in ``dtype``."""
        rows_BMKSd = self.rows_PKSd[tables_BM]
        if self.scales_PKS is not None:
            rows_BMKSd = (rows_BMKSd * self.scales_PKS[tables_BM][..., None]).to(dtype)
        return rows_BMKSd.transpose(1, 2).flatten(2, 3)


def quantised(x_NKd: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [N, K, d] and float32 scales [N, K]; their product is within half a scale of ``x_NKd``."""
    x_NKd = x_NKd.float()
    scales_NK = x_NKd.abs().amax(dim=-1).clamp(min=LEAST_MAGNITUDE) / LARGEST
    # Not round(): the kernel has but floor(), and both shall agree on ties.
    return (x_NKd / scales_NK[..., None] + 0.5).floor().to(torch.int8), scales_NK
