"""The LLaMA of ``llama.py`` as a GPU wants it: fewer, larger matrix products, and ``Ops`` between them.

Weights of query, key and value are one matrix, those of gate and up another; the sum of a residual and its norm are
one pass. Knows plans and a cache; knows nothing of batches, graphs or requests.

Shapes: N tokens, D hidden, R rows whose logits are wanted, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_decoder.gpu.ops import Ops, RopeTable
from llm_decoder.gpu.plan import Plan
from llm_decoder.kv_cache import KvCache
from llm_decoder.llama import Layer, Llama, Rope


class FusedLayer(NamedTuple):
    """Weights of one layer."""

    attention_norm_D: Tensor
    qkv_WD: Tensor
    output: Tensor
    mlp_norm_D: Tensor
    gate_up_2ID: Tensor
    down_DI: Tensor


class FusedLlama:
    """Weights on ``device``. Of the given model, which may lie on the CPU, nothing is needed afterwards."""

    def __init__(self, model: Llama, device: torch.device | str) -> None:
        self.config, self.dtype = model.config, model.dtype
        embedding_VD = model.model.embed_tokens.weight.detach().to(device)
        self.device = embedding_VD.device
        self.embedding_VD = embedding_VD
        self.layers = [_fused(layer, self.device) for layer in model.model.layers]  # type: ignore[arg-type]
        self.norm_D = model.model.norm.weight.detach().to(device)
        tied = model.config.tie_word_embeddings
        self.output_VD = embedding_VD if tied else model.lm_head.weight.detach().to(device)
        self.rope = _rope_table(model, self.device)

    def embed(self, ids_N: Tensor) -> Tensor:
        """Token ids [N] to rows [N, D]."""
        return F.embedding(ids_N, self.embedding_VD)

    def hidden(self, x_ND: Tensor, plan: Plan, cache: KvCache, ops: Ops) -> Tensor:
        """Rows [N, D] to normalised hidden states [N, D]; stores the new keys and values."""
        eps = self.config.rms_norm_eps
        residual_ND = torch.zeros_like(x_ND)
        norms = [layer.attention_norm_D for layer in self.layers[1:]] + [self.norm_D]
        x_ND = ops.add_norm(x_ND, residual_ND, self.layers[0].attention_norm_D, eps)
        for index, (layer, next_norm_D) in enumerate(zip(self.layers, norms, strict=True)):
            keys, values = cache.layer(index)
            q_NHd = ops.rotate_and_store(F.linear(x_ND, layer.qkv_WD), self.rope, keys, values, plan)
            read_NW = ops.attend(q_NHd, keys, values, plan).flatten(1)
            x_ND = ops.add_norm(F.linear(read_NW, layer.output), residual_ND, layer.mlp_norm_D, eps)
            opened_NI = ops.gate(F.linear(x_ND, layer.gate_up_2ID))
            x_ND = ops.add_norm(F.linear(opened_NI, layer.down_DI), residual_ND, next_norm_D, eps)
        return x_ND

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """Hidden states [R, D] to float32 logits [R, V]."""
        return F.linear(hidden_RD, self.output_VD).float()


def _fused(layer: Layer, device: torch.device) -> FusedLayer:
    attention, mlp = layer.self_attn, layer.mlp
    return FusedLayer(
        layer.input_layernorm.weight.detach().to(device),
        _stacked(device, attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight),
        attention.o_proj.weight.detach().to(device),
        layer.post_attention_layernorm.weight.detach().to(device),
        _stacked(device, mlp.gate_proj.weight, mlp.up_proj.weight),
        mlp.down_proj.weight.detach().to(device),
    )


def _stacked(device: torch.device, *weights: Tensor) -> Tensor:
    return torch.cat([weight.detach().to(device) for weight in weights])


def _rope_table(model: Llama, device: torch.device) -> RopeTable:
    config = model.config
    rope = Rope(config, torch.arange(config.max_position_embeddings, device=device), torch.float32)
    half = config.head_dim // 2  # the halves of a head turn alike
    return RopeTable(rope.cos_N1d[:, 0, :half].contiguous(), rope.sin_N1d[:, 0, :half].contiguous())
