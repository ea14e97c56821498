"""The small steps between the matrix products, each one pass over memory, in Triton-lang; needs the package ``triton``.

A decode step reads the weights once and little else, so what is left is the number of kernels: these three replace
about a dozen. Knows pointers; ``triton_ops`` knows tensors.

Shapes: N tokens, W width of a row, H query heads, K key/value heads, S positions of a block, D head width.
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator,misc"

from __future__ import annotations

import triton
import triton.language as tl

from llm_decoder import paged_rows

LARGEST = tl.constexpr(paged_rows.LARGEST)
LEAST_MAGNITUDE = tl.constexpr(paged_rows.LEAST_MAGNITUDE)


@triton.jit
def add_norm(out_NW, residual_NW, x_NW, weight_W, width, eps, WIDTH: tl.constexpr):
    """Grid (N). ``residual`` += ``x``; ``out`` = its root-mean-square norm times ``weight``, rounded as in llama.py."""
    column = tl.arange(0, WIDTH)
    is_inside = column < width
    at = tl.program_id(0).to(tl.int64) * width + column
    x = tl.load(x_NW + at, mask=is_inside, other=0.0).to(tl.float32)
    residual = tl.load(residual_NW + at, mask=is_inside, other=0.0).to(tl.float32)
    dtype = out_NW.dtype.element_ty
    total = (residual + x).to(dtype)
    tl.store(residual_NW + at, total, mask=is_inside)
    total = total.to(tl.float32)
    normed = (total * tl.rsqrt(tl.sum(total * total, 0) / width + eps)).to(dtype)
    weight = tl.load(weight_W + column, mask=is_inside, other=0.0)
    tl.store(out_NW + at, (normed.to(tl.float32) * weight.to(tl.float32)).to(dtype), mask=is_inside)


@triton.jit
def rotate_and_store(
    q_NHD,
    keys_PKSD,
    key_scales_PKS,
    values_PKSD,
    value_scales_PKS,
    qkv_NW,
    cos_PC,
    sin_PC,
    positions_N,
    slots_N,
    H: tl.constexpr,
    K: tl.constexpr,
    S: tl.constexpr,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
):
    """Grid (N). Turns queries and keys (half-split rotary positions); keys and values go to the token's slot.

    Where there are scales, keys and values become int8 as in paged_rows.py.
    """
    token = tl.program_id(0)
    position = tl.load(positions_N + token)
    slot = tl.load(slots_N + token)
    head = tl.arange(0, HEADS)[:, None]
    channel = tl.arange(0, HALF)[None, :]
    at = token.to(tl.int64) * ((H + 2 * K) * 2 * HALF) + head * (2 * HALF) + channel
    low = tl.load(qkv_NW + at, mask=head < H + 2 * K, other=0.0)
    high = tl.load(qkv_NW + at + HALF, mask=head < H + 2 * K, other=0.0)
    cos = tl.load(cos_PC + position * HALF + channel)
    sin = tl.load(sin_PC + position * HALF + channel)
    turned_low = low.to(tl.float32) * cos - high.to(tl.float32) * sin
    turned_high = high.to(tl.float32) * cos + low.to(tl.float32) * sin
    dtype = q_NHD.dtype.element_ty
    is_value = head >= H + K
    low = tl.where(is_value, low, turned_low.to(dtype))
    high = tl.where(is_value, high, turned_high.to(dtype))

    q_at = token.to(tl.int64) * (H * 2 * HALF) + head * (2 * HALF) + channel
    tl.store(q_NHD + q_at, low, mask=head < H)
    tl.store(q_NHD + q_at + HALF, high, mask=head < H)
    kv_head = tl.where(is_value, head - H - K, head - H)
    row_at = ((slot // S).to(tl.int64) * K + kv_head) * S + slot % S
    kv_at = row_at * (2 * HALF) + channel
    is_key = (head >= H) & (head < H + K)
    is_value = is_value & (head < H + 2 * K)
    if key_scales_PKS is not None:
        magnitude = tl.maximum(tl.abs(low.to(tl.float32)), tl.abs(high.to(tl.float32)))
        scale = tl.maximum(tl.max(magnitude, 1, keep_dims=True), LEAST_MAGNITUDE) / LARGEST
        low = tl.floor(low.to(tl.float32) / scale + 0.5).to(tl.int8)
        high = tl.floor(high.to(tl.float32) / scale + 0.5).to(tl.int8)
        tl.store(key_scales_PKS + row_at, scale, mask=is_key)
        tl.store(value_scales_PKS + row_at, scale, mask=is_value)
    tl.store(keys_PKSD + kv_at, low, mask=is_key)
    tl.store(keys_PKSD + kv_at + HALF, high, mask=is_key)
    tl.store(values_PKSD + kv_at, low, mask=is_value)
    tl.store(values_PKSD + kv_at + HALF, high, mask=is_value)


@triton.jit
def gate(out_NW, gate_up_N2W, width, BLOCK: tl.constexpr):
    """Grid (N, ceil(width / BLOCK)). silu(first half) * second half of each row."""
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    is_inside = column < width
    row = tl.program_id(0).to(tl.int64)
    opened = tl.load(gate_up_N2W + row * 2 * width + column, mask=is_inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up_N2W + row * 2 * width + width + column, mask=is_inside, other=0.0)
    dtype = out_NW.dtype.element_ty
    silu = (opened * tl.sigmoid(opened)).to(dtype)
    tl.store(out_NW + row * width + column, (silu.to(tl.float32) * up.to(tl.float32)).to(dtype), mask=is_inside)
