"""Steps over a paged cache, as the engine would make them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llm_decoder.kv_cache import KvCache
from llm_decoder.llama import Llama
from llm_decoder.step_input import StepInput

BLOCK = 4


def step_of(
    model: Llama, chunks: Sequence[tuple[list[int], int, list[int]]], *, yields: Sequence[int] = ()
) -> StepInput:
    """Over (ids, first position, block table) of each sequence; logits of the last tokens of ``yields``, or all."""
    starts = torch.tensor([0, *(len(ids) for ids, _, _ in chunks)]).cumsum(0)
    spans = [(range(start, start + len(ids)), table) for ids, start, table in chunks]
    widest = max(-(-positions.stop // BLOCK) for positions, _ in spans)
    return StepInput(
        x_ND=model.embed(torch.tensor([token for ids, _, _ in chunks for token in ids])),
        positions_N=torch.tensor([p for positions, _ in spans for p in positions], dtype=torch.int32),
        slots_N=torch.tensor([t[p // BLOCK] * BLOCK + p % BLOCK for r, t in spans for p in r], dtype=torch.int32),
        query_starts=starts.int(),
        context_lens_B=torch.tensor([positions.stop for positions, _ in spans], dtype=torch.int32),
        block_tables_BM=torch.tensor([(t + [0] * widest)[:widest] for _, t in spans], dtype=torch.int32),
        logit_rows_R=(starts[1:] - 1)[list(yields) or slice(None)].int(),
    )


def filled_cache(model: Llama, num_blocks: int, seed: int = 5, dtype: torch.dtype | None = None) -> KvCache:
    """A cache of the model's type, or int8, in which every sequence already has a past."""
    cache = KvCache(model.config, num_blocks, BLOCK, dtype or model.dtype, "cpu")
    generator = torch.Generator().manual_seed(seed)
    for cached in tensors_of(cache):
        if cached.dtype == torch.int8:
            cached.copy_(torch.randint(-127, 128, cached.shape, generator=generator))
        elif dtype == torch.int8:
            cached.copy_(torch.rand(cached.shape, generator=generator) / 60)
        else:
            cached.copy_(torch.randn(cached.shape, generator=generator))
    return cache


def tensors_of(cache: KvCache) -> list[torch.Tensor]:
    """Keys, values, and their scales if there are any."""
    tensors = (cache.keys, cache.values, cache.key_scales, cache.value_scales)
    return [tensor for tensor in tensors if tensor is not None]
