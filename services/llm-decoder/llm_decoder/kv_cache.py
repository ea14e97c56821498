"""Keys and values of the sequences in progress: one contiguous slot a sequence.

Shapes: S slots, T positions of a slot, B decoding sequences, n tokens of a chunk, K key/value heads, G queries a head,
H = K * G query heads, d head width. Knows tensors; knows nothing of requests or of when a slot is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trichord.model_config import LlmConfig


class Chunk(NamedTuple):
    """Consecutive new tokens of one sequence."""

    slot: int
    start: int
    """Position of the first, from 0; everything before is in the cache."""
    num_tokens: int

    @property
    def is_decode(self) -> bool:
        """One token: what a sequence that decodes adds in a step."""
        return self.num_tokens == 1


class KvCache:
    """Storage of [layers, S, K, T, d], twice."""

    def __init__(self, config: LlmConfig, num_slots: int, slot_tokens: int, dtype: torch.dtype, device: str) -> None:
        shape = (config.num_hidden_layers, num_slots, config.num_key_value_heads, slot_tokens, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    @staticmethod
    def bytes_per_token(config: LlmConfig, dtype: torch.dtype) -> int:
        """Bytes that one position of one sequence takes."""
        return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * dtype.itemsize

    def attention(self, chunks: Sequence[Chunk]) -> StepAttention:
        """The attention of one step over these chunks, decoding ones first, in the order of their tokens."""
        return StepAttention(self, chunks)


class StepAttention:
    """Attention of one step: what it needs for every layer is made once here."""

    def __init__(self, cache: KvCache, chunks: Sequence[Chunk]) -> None:
        self.cache = cache
        device = cache.keys.device
        decodes = [chunk for chunk in chunks if chunk.is_decode]
        self.prompts = chunks[len(decodes) :]
        assert not any(chunk.is_decode for chunk in self.prompts), "decoding chunks come first"
        self.slots_B = torch.tensor([chunk.slot for chunk in decodes], dtype=torch.long, device=device)
        self.positions_B = torch.tensor([chunk.start for chunk in decodes], dtype=torch.long, device=device)
        self.num_slots = max((chunk.slot + 1 for chunk in decodes), default=0)
        self.num_positions = max((chunk.start + 1 for chunk in decodes), default=0)
        last_S = torch.zeros(self.num_slots, dtype=torch.long, device=device)
        last_S[self.slots_B] = self.positions_B
        self.sees_S11T = torch.arange(self.num_positions, device=device) <= last_S[:, None, None, None]

    def __call__(self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor) -> Tensor:
        """See ``llama.Attend``."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        out_NHd = torch.empty_like(q_NHd)
        num_decodes = len(self.slots_B)
        if num_decodes:
            keys[self.slots_B, :, self.positions_B] = k_NKd[:num_decodes]
            values[self.slots_B, :, self.positions_B] = v_NKd[:num_decodes]
            out_NHd[:num_decodes] = self._decode(keys, values, q_NHd[:num_decodes])
        at = num_decodes
        for chunk in self.prompts:
            rows = slice(at, at := at + chunk.num_tokens)
            out_NHd[rows] = _prefill(keys[chunk.slot], values[chunk.slot], chunk, q_NHd[rows], k_NKd[rows], v_NKd[rows])
        return out_NHd

    def _decode(self, keys_SKTd: Tensor, values_SKTd: Tensor, q_BHd: Tensor) -> Tensor:
        # Slots are read where they lie, idle ones below the highest included: copying them would cost more.
        num_kv_heads = keys_SKTd.shape[1]
        q_SKGd = q_BHd.new_zeros(self.num_slots, num_kv_heads, q_BHd.shape[1] // num_kv_heads, q_BHd.shape[2])
        q_SKGd[self.slots_B] = q_BHd.view(len(q_BHd), *q_SKGd.shape[1:])
        o_SKGd = F.scaled_dot_product_attention(
            q_SKGd,
            keys_SKTd[: self.num_slots, :, : self.num_positions],
            values_SKTd[: self.num_slots, :, : self.num_positions],
            attn_mask=self.sees_S11T,
        )
        return o_SKGd[self.slots_B].view(q_BHd.shape)


def _prefill(keys_KTd: Tensor, values_KTd: Tensor, chunk: Chunk, q_nHd: Tensor, k_nKd: Tensor, v_nKd: Tensor) -> Tensor:
    stop = chunk.start + chunk.num_tokens
    keys_KTd[:, chunk.start : stop] = k_nKd.transpose(0, 1)
    values_KTd[:, chunk.start : stop] = v_nKd.transpose(0, 1)
    positions = torch.arange(stop, device=q_nHd.device)
    sees_nT = positions <= positions[chunk.start :, None]
    o_1Hnd = F.scaled_dot_product_attention(
        q_nHd.transpose(0, 1)[None],
        keys_KTd[None, :, :stop],
        values_KTd[None, :, :stop],
        attn_mask=sees_nT if chunk.start else None,
        is_causal=chunk.start == 0,
        enable_gqa=True,
    )
    return o_1Hnd[0].transpose(0, 1)
