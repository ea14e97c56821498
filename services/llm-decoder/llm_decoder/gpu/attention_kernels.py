"""Attention over the paged cache, in the language Triton (Tillet et al., MAPL 2019); needs the package ``triton``.

One kernel for prompts and for decoding: a program takes a few consecutive queries of one sequence with all the heads
that share a key/value head, and walks the blocks of that sequence with the running softmax of FlashAttention (arXiv
2205.14135). Where few sequences decode, their keys are split over several programs and joined by a second kernel
(FlashDecoding: "Flash-Decoding for long-context inference", 2023). What is int8 in the cache goes into the products as
it is, exactly; a key's scale multiplies its scores, and a value's its weights. Knows pointers; ``triton_ops`` knows
tensors.

Shapes: R rows of a tile, N tokens, H = K * G query heads, K key/value heads, S positions of a block, D head width, B
sequences, M blocks of a table, T keys of a span, X splits.
"""
# mypy: disable-error-code="no-untyped-def,untyped-decorator,misc"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _read(
    q_RD,
    keys_PKSD,
    key_scales_PKS,
    values_PKSD,
    value_scales_PKS,
    table_M,
    head,
    sees_to_R,
    begin,
    end,
    scale,
    K: tl.constexpr,
    S: tl.constexpr,
    SPAN: tl.constexpr,
):
    """What rows read of positions ``begin`` to ``end`` - 1, each up to its own: the running softmax.

    Returns the likeliest score of each row, the sum of the others' weights relative to it, and the values so weighted.
    """
    ROWS: tl.constexpr = q_RD.shape[0]
    D: tl.constexpr = q_RD.shape[1]
    likeliest = tl.full((ROWS,), float("-inf"), tl.float32)
    weight = tl.zeros((ROWS,), tl.float32)
    mixed_RD = tl.zeros((ROWS, D), tl.float32)
    channel = tl.arange(0, D)
    for start in range(begin, end, SPAN):
        at = start + tl.arange(0, SPAN)
        is_inside = at < end
        block = tl.load(table_M + at // S, mask=is_inside, other=0).to(tl.int64)
        at_T = (block * K + head) * S + at % S
        at_TD = at_T[:, None] * D + channel[None, :]
        k_TD = tl.load(keys_PKSD + at_TD, mask=is_inside[:, None], other=0).to(q_RD.dtype)
        score_RT = tl.dot(q_RD, tl.trans(k_TD), input_precision="ieee") * scale
        if key_scales_PKS is not None:
            score_RT *= tl.load(key_scales_PKS + at_T, mask=is_inside, other=0.0)[None, :]
        sees_RT = is_inside[None, :] & (at[None, :] <= sees_to_R[:, None])
        score_RT = tl.where(sees_RT, score_RT, float("-inf"))

        before = likeliest
        likeliest = tl.maximum(likeliest, tl.max(score_RT, 1))
        # A query that has seen nothing yet: -inf less -inf would be NaN.
        zero = tl.where(likeliest == float("-inf"), 0.0, likeliest)
        fade = tl.exp2(before - zero)
        p_RT = tl.exp2(score_RT - zero[:, None])
        weight = weight * fade + tl.sum(p_RT, 1)
        if value_scales_PKS is not None:
            p_RT *= tl.load(value_scales_PKS + at_T, mask=is_inside, other=0.0)[None, :]
        v_TD = tl.load(values_PKSD + at_TD, mask=is_inside[:, None], other=0).to(q_RD.dtype)
        mixed_RD = mixed_RD * fade[:, None] + tl.dot(p_RT.to(q_RD.dtype), v_TD, input_precision="ieee")
    return likeliest, weight, mixed_RD


@triton.jit(do_not_specialize=["width_of_tables"])
def attend(
    out_NHD,
    partial_NHXD,
    log_sum_NHX,
    q_NHD,
    keys_PKSD,
    key_scales_PKS,
    values_PKSD,
    value_scales_PKS,
    tables_BM,
    positions_N,
    tiles_T3,
    width_of_tables,
    scale,
    K: tl.constexpr,
    G: tl.constexpr,
    S: tl.constexpr,
    D: tl.constexpr,
    ROWS: tl.constexpr,
    SPAN: tl.constexpr,
    SPLITS: tl.constexpr,
):
    """Grid (tiles, K, SPLITS). A tile is (sequence, its first token, how many). ``scale`` includes log2(e).

    With one split the result goes to ``out``; else each split's own result and the logarithm of its weight are kept.
    """
    tile, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    sequence = tl.load(tiles_T3 + 3 * tile)
    first = tl.load(tiles_T3 + 3 * tile + 1)
    count = tl.load(tiles_T3 + 3 * tile + 2)
    position = tl.load(positions_N + first)

    # Rows are queries times the heads of the group: each key is read once for all of them.
    row = tl.arange(0, ROWS)
    query = row // G
    is_row = query < count
    channel = tl.arange(0, D)
    head_row = (first + query).to(tl.int64) * (K * G) + head * G + row % G
    at_RD = head_row[:, None] * D + channel[None, :]
    q_RD = tl.load(q_NHD + at_RD, mask=is_row[:, None], other=0.0)

    length = position + count
    share = tl.cdiv(tl.cdiv(length, SPLITS), SPAN) * SPAN
    begin = split * share
    end = tl.minimum(length, begin + share)

    table = tables_BM + sequence * width_of_tables
    pages = keys_PKSD, key_scales_PKS, values_PKSD, value_scales_PKS, table
    likeliest, weight, mixed_RD = _read(q_RD, *pages, head, position + query, begin, end, scale, K, S, SPAN)
    weight = tl.maximum(weight, 1e-30)  # an empty split weighs nothing: its likeliest is -inf
    mixed_RD = mixed_RD / weight[:, None]
    if SPLITS == 1:
        tl.store(out_NHD + at_RD, mixed_RD.to(out_NHD.dtype.element_ty), mask=is_row[:, None])
    else:
        part_row = head_row * SPLITS + split
        tl.store(partial_NHXD + part_row[:, None] * D + channel[None, :], mixed_RD, mask=is_row[:, None])
        tl.store(log_sum_NHX + part_row, likeliest + tl.log2(weight), mask=is_row)


@triton.jit
def join(out_NHD, partial_NHXD, log_sum_NHX, D: tl.constexpr, SPLITS: tl.constexpr):
    """Grid (N * H). The mean of the splits' results by their weights; the first split is never empty."""
    head_row = tl.program_id(0).to(tl.int64)
    split = tl.arange(0, SPLITS)
    channel = tl.arange(0, D)
    log_sum = tl.load(log_sum_NHX + head_row * SPLITS + split)
    weight = tl.exp2(log_sum - tl.max(log_sum, 0))
    part_XD = tl.load(partial_NHXD + (head_row * SPLITS + split)[:, None] * D + channel[None, :])
    mixed_D = tl.sum(part_XD * weight[:, None], 0) / tl.sum(weight, 0)
    tl.store(out_NHD + head_row * D + channel, mixed_D.to(out_NHD.dtype.element_ty))
