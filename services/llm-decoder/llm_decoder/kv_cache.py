"""Keys and values of the sequences in progress, in blocks; and attention over them in plain torch.

Shapes: L layers, P blocks, K key/value heads, S positions of a block, d head width, H = K * G query heads, N new
tokens, B sequences, T positions of the longest of them. Knows tensors; knows nothing of requests or of who owns what.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_decoder.huge_pages import huge_zeros
from llm_decoder.llama import Llama
from llm_decoder.paged_rows import PagedRows
from llm_decoder.step_input import StepInput
from trichord.model_config import LlmConfig


class KvCache:
    """Storage of [L, P, K, S, d], twice; if it is int8, also float32 scales of [L, P, K, S], twice."""

    def __init__(self, config: LlmConfig, num_blocks: int, block_size: int, dtype: torch.dtype, device: str) -> None:
        shape = (config.num_hidden_layers, num_blocks, config.num_key_value_heads, block_size, config.head_dim)
        self.block_size = block_size
        self.keys, self.values = (_zeros(shape, dtype, device) for _ in range(2))
        has_scales = dtype == torch.int8
        self.key_scales = torch.zeros(shape[:-1], device=device) if has_scales else None
        self.value_scales = torch.zeros(shape[:-1], device=device) if has_scales else None

    @staticmethod
    def bytes_per_token(config: LlmConfig, dtype: torch.dtype) -> int:
        """Bytes that one position of one sequence takes."""
        row_bytes = config.head_dim * dtype.itemsize + (torch.float32.itemsize if dtype == torch.int8 else 0)
        return 2 * config.num_hidden_layers * config.num_key_value_heads * row_bytes

    def layer(self, layer: int) -> tuple[PagedRows, PagedRows]:
        """Keys and values of one layer."""
        if self.key_scales is None or self.value_scales is None:
            return PagedRows(self.keys[layer]), PagedRows(self.values[layer])
        return (
            PagedRows(self.keys[layer], self.key_scales[layer]),
            PagedRows(self.values[layer], self.value_scales[layer]),
        )


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    return huge_zeros(shape, dtype) if device == "cpu" else torch.zeros(shape, dtype=dtype, device=device)


class TorchForward:
    """Computes a step with the torch module: works for every dtype and device, and is what the others are held to."""

    def __init__(self, model: Llama, cache: KvCache) -> None:
        self.model, self.cache = model, cache

    def __call__(self, step: StepInput) -> Tensor:
        """See ``Forward``."""
        hidden_ND = self.model(step.x_ND, step.positions_N.to(step.x_ND.device), PagedAttention(self.cache, step))
        return self.model.logits(hidden_ND[step.logit_rows_R.long()])


class PagedAttention:
    """Attention of one step: what it needs for every layer is made once here."""

    def __init__(self, cache: KvCache, step: StepInput) -> None:
        self.cache = cache
        device = step.x_ND.device
        slots_N = step.slots_N.to(device).long()
        self.blocks_N, self.offsets_N = slots_N // cache.block_size, slots_N % cache.block_size
        self.num_decodes = step.num_decodes
        self.tables_BM = step.block_tables_BM.to(device).long()
        num_positions = self.tables_BM.shape[1] * cache.block_size
        positions_T = torch.arange(num_positions, device=device)
        self.sees_B11T = positions_T < step.context_lens_B[: self.num_decodes, None, None, None].to(device)
        starts, lens = step.query_starts.tolist(), step.context_lens_B.tolist()
        self.prompts = [(i, starts[i], starts[i + 1], lens[i]) for i in range(self.num_decodes, len(lens))]

    def __call__(self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor) -> Tensor:
        """See ``llama.Attend``."""
        keys, values = self.cache.layer(layer)
        keys.put(self.blocks_N, self.offsets_N, k_NKd)
        values.put(self.blocks_N, self.offsets_N, v_NKd)
        out_NHd = torch.empty_like(q_NHd)
        if self.num_decodes:
            out_NHd[: self.num_decodes] = self._decode(keys, values, q_NHd[: self.num_decodes])
        for sequence, start, stop, context_len in self.prompts:
            table = self.tables_BM[sequence : sequence + 1]
            k_KTd, v_KTd = (cached.gather(table, q_NHd.dtype)[0, :, :context_len] for cached in (keys, values))
            out_NHd[start:stop] = attend_causally(q_NHd[start:stop], k_KTd, v_KTd)
        return out_NHd

    def _decode(self, keys: PagedRows, values: PagedRows, q_BHd: Tensor) -> Tensor:
        tables = self.tables_BM[: self.num_decodes]
        k_BKTd, v_BKTd = keys.gather(tables, q_BHd.dtype), values.gather(tables, q_BHd.dtype)
        # The queries of a group stand side by side, as if they were positions: no key is copied for them.
        q_BKGd = q_BHd.view(len(q_BHd), k_BKTd.shape[1], -1, q_BHd.shape[2])
        return F.scaled_dot_product_attention(q_BKGd, k_BKTd, v_BKTd, attn_mask=self.sees_B11T).reshape(q_BHd.shape)


def attend_causally(q_nHd: Tensor, k_KTd: Tensor, v_KTd: Tensor) -> Tensor:
    """What the last n of T positions read of all up to their own, [n, H, d]."""
    num_new, num_positions = len(q_nHd), k_KTd.shape[1]
    positions = torch.arange(num_positions, device=q_nHd.device)
    sees_nT = positions <= positions[num_positions - num_new :, None]
    o_1Hnd = F.scaled_dot_product_attention(
        q_nHd.transpose(0, 1)[None],
        k_KTd[None],
        v_KTd[None],
        attn_mask=None if num_new == num_positions else sees_nT,
        is_causal=num_new == num_positions,
        enable_gqa=True,
    )
    return o_1Hnd[0].transpose(0, 1)
