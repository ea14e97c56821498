"""``Ops`` as kernels in Triton-lang: shapes, grids and launches. Imported only where ``triton`` is installed.

Knows tensors and the kernels' arguments; the kernels know pointers. Shapes as in ``ops``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from llm_decoder.gpu import attention_kernels, row_kernels
from llm_decoder.gpu.ops import RopeTable
from llm_decoder.gpu.plan import Plan
from llm_decoder.paged_rows import PagedRows
from trichord.model_config import LlmConfig

MIN_SIDE = 16
"""Least side of a matrix product in Triton-lang."""
SPAN = 64
"""Keys that a program reads at once."""
GATE_BLOCK = 1024
LOG2_E = math.log2(math.e)


class TritonOps:
    """Reads keys and values where they lie in the cache; rounds where the model in torch rounds."""

    @staticmethod
    def unsupported(config: LlmConfig) -> str | None:
        """None if the kernels run this model, else a sentence that says why not."""
        if config.head_dim < MIN_SIDE or config.head_dim & (config.head_dim - 1):
            return f"The kernels need a head_dim that is a power of two from {MIN_SIDE} on; it is {config.head_dim}."
        return None

    def add_norm(self, x_ND: Tensor, residual_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        """See ``Ops``."""
        out_ND = torch.empty_like(x_ND)
        num_tokens, width = x_ND.shape
        row_kernels.add_norm[(num_tokens,)](out_ND, residual_ND, x_ND, weight_D, width, eps, WIDTH=_power_of_two(width))
        return out_ND

    def rotate_and_store(
        self, qkv_NW: Tensor, rope: RopeTable, keys: PagedRows, values: PagedRows, plan: Plan
    ) -> Tensor:
        """See ``Ops``."""
        _, num_kv_heads, block_size, head_dim = keys.rows_PKSd.shape
        num_heads = qkv_NW.shape[1] // head_dim - 2 * num_kv_heads
        q_NHd = qkv_NW.new_empty(len(qkv_NW), num_heads, head_dim)
        row_kernels.rotate_and_store[(len(qkv_NW),)](
            q_NHd,
            *keys,
            *values,
            qkv_NW,
            rope.cos_PC,
            rope.sin_PC,
            plan.positions_N,
            plan.slots_N,
            H=num_heads,
            K=num_kv_heads,
            S=block_size,
            HALF=head_dim // 2,
            HEADS=_power_of_two(num_heads + 2 * num_kv_heads),
        )
        return q_NHd

    def attend(self, q_NHd: Tensor, keys: PagedRows, values: PagedRows, plan: Plan) -> Tensor:
        """See ``Ops``."""
        (num_tokens, num_heads, head_dim), (_, num_kv_heads, block_size, _) = q_NHd.shape, keys.rows_PKSd.shape
        group, splits = num_heads // num_kv_heads, plan.num_splits
        out_NHd = torch.empty_like(q_NHd)
        part_shape = (num_tokens, num_heads, splits) if splits > 1 else (0,)
        partial_NHXd = q_NHd.new_empty((*part_shape, head_dim), dtype=torch.float32)
        log_sum_NHX = q_NHd.new_empty(part_shape, dtype=torch.float32)
        attention_kernels.attend[(len(plan.tiles_T3), num_kv_heads, splits)](
            out_NHd,
            partial_NHXd,
            log_sum_NHX,
            q_NHd,
            *keys,
            *values,
            plan.tables_BM,
            plan.positions_N,
            plan.tiles_T3,
            plan.tables_BM.stride(0),
            head_dim**-0.5 * LOG2_E,
            K=num_kv_heads,
            G=group,
            S=block_size,
            D=head_dim,
            ROWS=max(MIN_SIDE, _power_of_two(plan.tile_tokens * group)),
            SPAN=SPAN,
            SPLITS=splits,
        )
        if splits > 1:
            attention_kernels.join[(num_tokens * num_heads,)](
                out_NHd, partial_NHXd, log_sum_NHX, D=head_dim, SPLITS=splits
            )
        return out_NHd

    def gate(self, gate_up_N2I: Tensor) -> Tensor:
        """See ``Ops``."""
        num_tokens, width = len(gate_up_N2I), gate_up_N2I.shape[1] // 2
        out_NI = gate_up_N2I.new_empty(num_tokens, width)
        grid = (num_tokens, -(-width // GATE_BLOCK))
        row_kernels.gate[grid](out_NI, gate_up_N2I, width, BLOCK=GATE_BLOCK)
        return out_NI


def _power_of_two(value: int) -> int:
    """The least power of two that is not below ``value``."""
    return 1 << (value - 1).bit_length()
