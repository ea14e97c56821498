"""LLaMA with grouped-query attention (arXiv 2302.13971; GQA: arXiv 2305.13245; sizes: arXiv 2502.15803, Table 2).

Shapes: N tokens of all sequences side by side, D hidden, H query heads, K key/value heads, d head width, V vocabulary.
Knows positions and an attention function that it is handed; knows nothing of caches, sequences or sampling.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trichord.model_config import LlmConfig


class Attend(Protocol):
    """Where the keys and values of one step go, and what the queries see."""

    def __call__(self, layer: int, q_NHd: Tensor, k_NKd: Tensor, v_NKd: Tensor) -> Tensor:
        """Stores the step's keys and values; returns what each query reads, [N, H, d]."""


class Rope:
    """Rotary positions, half-split (RoFormer, arXiv 2104.09864, in the layout of the published checkpoints)."""

    def __init__(self, config: LlmConfig, positions_N: Tensor, dtype: torch.dtype) -> None:
        exponent_h = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=positions_N.device)
        inverse_h = 1.0 / config.rope_theta ** (exponent_h / config.head_dim)
        angle_Nh = positions_N.to(torch.float32)[:, None] * inverse_h
        angle_N1d = torch.cat((angle_Nh, angle_Nh), dim=-1)[:, None]
        self.cos_N1d = angle_N1d.cos().to(dtype)
        self.sin_N1d = angle_N1d.sin().to(dtype)

    def rotate(self, x_NHd: Tensor) -> Tensor:
        """Turns each pair (i, i + d/2) of a head by its position's angle."""
        low, high = x_NHd.chunk(2, dim=-1)
        return x_NHd * self.cos_N1d + torch.cat((-high, low), dim=-1) * self.sin_N1d


class RmsNorm(nn.Module):
    """Root-mean-square norm in float32, scaled in the model's dtype."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        return F.rms_norm(x_ND.float(), (x_ND.shape[-1],), eps=self.eps).to(x_ND.dtype) * self.weight


class SelfAttention(nn.Module):
    """Grouped-query attention; no biases."""

    def __init__(self, config: LlmConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        q_width, kv_width = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
        self.q_proj = nn.Linear(config.hidden_size, q_width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(q_width, config.hidden_size, bias=False)

    def forward(self, x_ND: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """[N, D] to [N, D]."""
        heads = (len(x_ND), -1, self.head_dim)
        q_NHd = rope.rotate(self.q_proj(x_ND).view(heads))
        k_NKd = rope.rotate(self.k_proj(x_ND).view(heads))
        o_NHd = attend(self.layer, q_NHd, k_NKd, self.v_proj(x_ND).view(heads))
        y_ND: Tensor = self.o_proj(o_NHd.reshape(len(x_ND), -1))
        return y_ND


class Mlp(nn.Module):
    """SwiGLU (arXiv 2002.05202); no biases."""

    def __init__(self, config: LlmConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D] to [N, D]."""
        y_ND: Tensor = self.down_proj(F.silu(self.gate_proj(x_ND)) * self.up_proj(x_ND))
        return y_ND


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: LlmConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = SelfAttention(config, layer)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x_ND: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """[N, D] to [N, D]."""
        x_ND = x_ND + self.self_attn(self.input_layernorm(x_ND), rope, attend)
        y_ND: Tensor = x_ND + self.mlp(self.post_attention_layernorm(x_ND))
        return y_ND


class Backbone(nn.Module):
    """Embedding table, layers, final norm."""

    def __init__(self, config: LlmConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """The decoder; its state dict has the names of a checkpoint less the prefix ``llm.``."""

    def __init__(self, config: LlmConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and activations."""
        return self.model.norm.weight.dtype

    def embed(self, ids_N: Tensor) -> Tensor:
        """Token ids [N] to rows [N, D]."""
        x_ND: Tensor = self.model.embed_tokens(ids_N)
        return x_ND

    def forward(self, x_ND: Tensor, positions_N: Tensor, attend: Attend) -> Tensor:
        """Rows [N, D] at positions [N] to normalised hidden states [N, D]."""
        rope = Rope(self.config, positions_N, x_ND.dtype)
        for layer in self.model.layers:
            x_ND = layer(x_ND, rope, attend)
        y_ND: Tensor = self.model.norm(x_ND)
        return y_ND

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Hidden states [B, D] to float32 logits [B, V]."""
        tied = self.config.tie_word_embeddings
        weight_VD = self.model.embed_tokens.weight if tied else self.lm_head.weight
        return F.linear(hidden_BD, weight_VD).float()
