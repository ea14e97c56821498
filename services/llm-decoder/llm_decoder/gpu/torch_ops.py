"""``Ops`` in plain torch: runs everywhere, and is what the kernels are held to.

Shapes as in ``ops``; B decoding sequences, T positions of their tables.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_decoder.gpu.ops import RopeTable
from llm_decoder.gpu.plan import Plan
from llm_decoder.kv_cache import attend_causally
from llm_decoder.paged_rows import PagedRows


class TorchOps:
    """Attention gathers every table's blocks: correct, and much memory traffic."""

    def add_norm(self, x_ND: Tensor, residual_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        """See ``Ops``."""
        residual_ND += x_ND
        return F.rms_norm(residual_ND.float(), (residual_ND.shape[-1],), eps=eps).to(x_ND.dtype) * weight_D

    def rotate_and_store(
        self, qkv_NW: Tensor, rope: RopeTable, keys: PagedRows, values: PagedRows, plan: Plan
    ) -> Tensor:
        """See ``Ops``."""
        _, num_kv_heads, block_size, head_dim = keys.rows_PKSd.shape
        qkv_NJd = qkv_NW.view(len(qkv_NW), -1, head_dim)
        turned_NJd = _turn(qkv_NJd[:, :-num_kv_heads], rope, plan.positions_N)
        blocks_N, offsets_N = plan.slots_N.long() // block_size, plan.slots_N.long() % block_size
        keys.put(blocks_N, offsets_N, turned_NJd[:, -num_kv_heads:])
        values.put(blocks_N, offsets_N, qkv_NJd[:, -num_kv_heads:])
        return turned_NJd[:, :-num_kv_heads]

    def attend(self, q_NHd: Tensor, keys: PagedRows, values: PagedRows, plan: Plan) -> Tensor:
        """See ``Ops``."""
        out_NHd = torch.empty_like(q_NHd)
        if plan.num_decodes:
            out_NHd[: plan.num_decodes] = _decode(q_NHd[: plan.num_decodes], keys, values, plan)
        for sequence, start, stop, context_len in plan.prompts:
            table_1M = plan.tables_BM[sequence : sequence + 1]
            k_KTd, v_KTd = (c.gather(table_1M, q_NHd.dtype)[0, :, :context_len] for c in (keys, values))
            out_NHd[start:stop] = attend_causally(q_NHd[start:stop], k_KTd, v_KTd)
        return out_NHd

    def gate(self, gate_up_N2I: Tensor) -> Tensor:
        """See ``Ops``."""
        gate_NI, up_NI = gate_up_N2I.chunk(2, dim=-1)
        return F.silu(gate_NI) * up_NI


def _turn(x_NJd: Tensor, rope: RopeTable, positions_N: Tensor) -> Tensor:
    cos_N1C, sin_N1C = (table[positions_N.long()][:, None].to(x_NJd.dtype) for table in rope)
    low, high = x_NJd.chunk(2, dim=-1)
    return torch.cat((low * cos_N1C - high * sin_N1C, high * cos_N1C + low * sin_N1C), dim=-1)


def _decode(q_BHd: Tensor, keys: PagedRows, values: PagedRows, plan: Plan) -> Tensor:
    tables_BM = plan.tables_BM[: len(q_BHd)]
    k_BKTd, v_BKTd = keys.gather(tables_BM, q_BHd.dtype), values.gather(tables_BM, q_BHd.dtype)
    at_T = torch.arange(k_BKTd.shape[2], device=q_BHd.device)
    sees_B11T = at_T <= plan.positions_N[: len(q_BHd), None, None, None]
    q_BKGd = q_BHd.view(len(q_BHd), k_BKTd.shape[1], -1, q_BHd.shape[2])
    return F.scaled_dot_product_attention(q_BKGd, k_BKTd, v_BKTd, attn_mask=sees_B11T).reshape(q_BHd.shape)
