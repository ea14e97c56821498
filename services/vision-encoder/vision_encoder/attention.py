"""Multi-head attention over projected states: what the tower's and the resampler's layers share. No parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional


def attend(queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, seen: Tensor | None = None) -> Tensor:
    """Mixed values [N, Q, D] of queries [N, Q, D] over keys and values [N, L, D]; scaled by (D / num_heads)^-0.5.

    With ``seen``, bool [N, L], only over those that it marks.
    """
    q, k, v = (
        states.view(*states.shape[:-1], num_heads, -1).transpose(1, 2) for states in (queries, keys, values)
    )  # [N, heads, Q or L, D / heads]
    mask = None if seen is None else seen[:, None, None]
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def attend_packed(
    queries: Tensor, keys: Tensor, values: Tensor, num_heads: int, lengths: Sequence[int], seen: Tensor | None = None
) -> Tensor:
    """The same of sequences one after another, all [T, D], each over itself alone; T is the sum of ``lengths``.

    Neighbours of one length are one batch: sort by length, and there are as many batches as lengths. Sequences that are
    padded to one length have ``seen``, see ``attend``.
    """
    batches = [(len(list(same)), length) for length, same in groupby(lengths)]
    sizes = [count * length for count, length in batches]
    parts = zip(*(torch.split(states, sizes) for states in (queries, keys, values)), strict=True)
    mixed = [
        attend(q.view(*batch, -1), k.view(*batch, -1), v.view(*batch, -1), num_heads, seen).flatten(0, 1)
        for batch, (q, k, v) in zip(batches, parts, strict=True)
    ]
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)
