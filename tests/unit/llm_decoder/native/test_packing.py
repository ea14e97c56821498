"""Packed weights, read back entry by entry as the kernels read them (native/panels.h)."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llm_decoder.native import packing
from tests.unit.llm_decoder.native.driver import CONFIG, bf16_llama, in_float32


def unpacked_bf16(panels, num_inputs):
    """[O, I] from [O / 32, I / 2, 32, 2]."""
    weights = panels.contiguous().view(torch.bfloat16).view(-1, num_inputs // 2, 32, 2)
    return weights.permute(0, 2, 1, 3).reshape(-1, num_inputs).float()


def unpacked_int8(panels, num_inputs):
    """[O, I] from [O / 32, I / 32] of 32 scales and [8 quads, 32, 4] weights that are 128 too large; and the scales."""
    groups = panels.contiguous().view(-1, num_inputs // 32, 64 + 1024)
    scales = groups[..., :64].contiguous().view(torch.bfloat16).float()
    units = groups[..., 64:].reshape(-1, num_inputs // 32, 8, 32, 4).float() - 128
    by_output = units.permute(0, 3, 1, 2, 4).flatten(3)
    weights = by_output * scales.transpose(1, 2)[..., None]
    return weights.reshape(-1, num_inputs), scales.transpose(1, 2).reshape(-1, num_inputs // 32)


def test_bf16_panels_hold_the_weights_themselves():
    matrix = torch.randn(96, 64).bfloat16()
    assert torch.equal(unpacked_bf16(packing.bf16_panels(matrix), 64), matrix.float())


@given(arrays(np.float32, (32, 64), elements=st.floats(-1e3, 1e3, width=32)))
def test_int8_panels_are_within_half_a_unit(values):
    matrix = torch.from_numpy(values)
    found, scales = unpacked_int8(packing.int8_panels(matrix), 64)
    error = (found - matrix).abs().view(32, 2, 32)
    # A scale is rounded to bf16: the largest weight of a group may lie 127 * 2^-8 units beyond 127, and is clamped.
    assert (error <= scales[..., None] * 0.5 * (1 + 1e-5) + 1e-30).all() | (error <= scales[..., None] * 0.75).all()


def test_the_whole_model_lies_in_the_order_of_use():
    model = bf16_llama()
    packed, exact, at = packing.pack(model, "bf16"), in_float32(model).state_dict(), 0
    num_heads, head_dim, num_kv_heads = CONFIG.num_attention_heads, CONFIG.head_dim, CONFIG.num_key_value_heads

    def take(num_outputs, num_inputs):
        nonlocal at
        num_bytes = num_outputs * num_inputs * 2
        at += num_bytes
        return unpacked_bf16(packed[at - num_bytes : at], num_inputs)

    for layer in range(CONFIG.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        qkv = take((num_heads + 2 * num_kv_heads) * head_dim, CONFIG.hidden_size)
        natural = torch.cat([exact[f"{prefix}.self_attn.{name}_proj.weight"] for name in "qkv"])
        # Heads of 32: a panel is a head, its two vectors are the halves that rotate together.
        assert torch.equal(qkv, natural)
        assert torch.equal(take(CONFIG.hidden_size, num_heads * head_dim), exact[f"{prefix}.self_attn.o_proj.weight"])
        gate_up = take(2 * CONFIG.intermediate_size, CONFIG.hidden_size).view(-1, 2, 16, CONFIG.hidden_size)
        assert torch.equal(gate_up[:, 0].flatten(0, 1), exact[f"{prefix}.mlp.gate_proj.weight"])
        assert torch.equal(gate_up[:, 1].flatten(0, 1), exact[f"{prefix}.mlp.up_proj.weight"])
        down = take(CONFIG.hidden_size, CONFIG.intermediate_size)
        assert torch.equal(down, exact[f"{prefix}.mlp.down_proj.weight"])
    vocabulary = take(packing.padded_vocab(CONFIG.vocab_size), CONFIG.hidden_size)
    assert torch.equal(vocabulary[: CONFIG.vocab_size], exact["lm_head.weight"])
    assert not vocabulary[CONFIG.vocab_size :].any()
    assert at == len(packed)


def test_wide_heads_have_their_rotary_halves_side_by_side():
    model = bf16_llama(CONFIG.model_copy(update={"head_dim": 64, "num_attention_heads": 2, "num_hidden_layers": 1}))
    first_head = unpacked_bf16(packing.pack(model, "bf16")[: 64 * CONFIG.hidden_size * 2], CONFIG.hidden_size)
    natural = model.model.layers[0].self_attn.q_proj.weight.float()
    order = [*range(16), *range(32, 48), *range(16, 32), *range(48, 64)]
    assert torch.equal(first_head, natural[order])
