"""Weights in the order that the kernels read them: panels of 32 output channels, two vectors of 16 (native/panels.h).

A panel's two vectors are what its epilogue needs side by side: the two halves of 16 rotary pairs in query and key
heads, 16 channels of the gate and of what it gates in the MLP; elsewhere 32 consecutive channels. Knows tensors of
weights; knows nothing of steps.

Shapes: O output channels, I inputs, both multiples of 32 but the vocabulary, which is filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_decoder.huge_pages import huge_zeros
from llm_decoder.llama import Layer, Llama
from trichord.model_config import LlmConfig

Format = Literal["bf16", "int8"]

LANES = 16
PANEL = 2 * LANES
GROUP = 32
"""Inputs that share a scale in int8."""


def pack(model: Llama, weights: Format) -> Tensor:
    """All matrices of the model as uint8 [bytes], layer by layer, then the output layer."""
    packer = _PACKERS[weights]
    packed = huge_zeros((_packed_bytes(model.config, weights),), torch.uint8)
    at = 0
    for matrix_OI in _matrices(model):
        panels = packer(matrix_OI.detach()).flatten()
        packed[at : at + len(panels)] = panels
        at += len(panels)
    return packed


def pack_norms(model: Llama) -> Tensor:
    """The norms' weights, float32 [2 * layers + 1, hidden], in the order of their use."""
    norms = [norm for layer in _layers(model) for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
    return torch.stack([norm.weight.detach().float() for norm in [*norms, model.model.norm]])


def padded_vocab(vocab_size: int) -> int:
    """Output channels of the packed output layer."""
    return -(-vocab_size // PANEL) * PANEL


def bf16_panels(matrix_OI: Tensor) -> Tensor:
    """uint8 [O / 32, I / 2, 32 * 4]: for each pair of inputs the pairs of weights of 32 channels."""
    num_outputs, num_inputs = matrix_OI.shape
    panels = matrix_OI.to(torch.bfloat16).view(num_outputs // PANEL, PANEL, num_inputs // 2, 2)
    return panels.transpose(1, 2).contiguous().view(torch.uint8).flatten(2)


def int8_panels(matrix_OI: Tensor) -> Tensor:
    """uint8 [O / 32, I / 32, 64 + 1024]: for each group of inputs the 32 channels' bf16 scales, then their quads.

    Symmetric, rounded to nearest; stored 128 too large, because the instruction wants one factor unsigned.
    """
    num_outputs, num_inputs = matrix_OI.shape
    groups = matrix_OI.float().view(num_outputs // PANEL, PANEL, num_inputs // GROUP, GROUP).transpose(1, 2)
    scales = (groups.abs().amax(dim=-1, keepdim=True) / 127).to(torch.bfloat16)
    units = (groups / scales.float().clamp_min(torch.finfo(torch.float32).tiny)).round().clamp(-127, 127)
    stored = (units + 128).to(torch.uint8)
    quads = stored.view(*stored.shape[:-1], GROUP // 4, 4).transpose(2, 3).flatten(2)
    return torch.cat((scales.squeeze(-1).contiguous().view(torch.uint8), quads), dim=-1)


_PACKERS: dict[Format, Callable[[Tensor], Tensor]] = {"bf16": bf16_panels, "int8": int8_panels}


def _packed_bytes(config: LlmConfig, weights: Format) -> int:
    attended, cached = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
    layer = config.hidden_size * (2 * attended + 2 * cached + 3 * config.intermediate_size)
    output = config.hidden_size * padded_vocab(config.vocab_size)
    bytes_per_group = {"bf16": GROUP * 2, "int8": GROUP + 2}[weights]
    return (config.num_hidden_layers * layer + output) // GROUP * bytes_per_group


def _layers(model: Llama) -> list[Layer]:
    return cast("list[Layer]", list(model.model.layers))


def _matrices(model: Llama) -> Iterator[Tensor]:
    """The matrices [O, I] in the order of their use, their channels in the order of the panels."""
    head_dim = model.config.head_dim
    for layer in _layers(model):
        attention, mlp = layer.self_attn, layer.mlp
        rotated = torch.cat((attention.q_proj.weight, attention.k_proj.weight))
        yield torch.cat((_halves_side_by_side(rotated, head_dim), attention.v_proj.weight))
        yield attention.o_proj.weight
        yield _halves_side_by_side(torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)), 2 * len(mlp.up_proj.weight))
        yield mlp.down_proj.weight
    output = model.model.embed_tokens if model.config.tie_word_embeddings else model.lm_head
    yield F.pad(output.weight, (0, 0, 0, padded_vocab(len(output.weight)) - len(output.weight)))


def _halves_side_by_side(matrix_OI: Tensor, width: int) -> Tensor:
    """Within every ``width`` channels: 16 of the first half, the 16 half the width further, the next 16, ..."""
    num_inputs = matrix_OI.shape[1]
    return matrix_OI.reshape(-1, 2, width // PANEL, LANES, num_inputs).transpose(1, 2).reshape(-1, num_inputs)
