"""One step of the model: scheduled tokens in, logits of the sequences that may go on out.

Owns the weights and the cache. Knows tensors; knows nothing of sampling, of threads or of when to run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llm_decoder.kv_cache import Chunk, KvCache
from llm_decoder.llama import Llama
from llm_decoder.request import Request
from llm_decoder.scheduler import Scheduled


class ModelRunner:
    """Runs steps of a model over a cache with ``num_slots`` slots of the model's whole context."""

    def __init__(self, model: Llama, num_slots: int) -> None:
        self.model = model
        self.device = str(model.model.norm.weight.device)
        context = model.config.max_position_embeddings
        self.cache = KvCache(model.config, num_slots, context, model.dtype, self.device)

    @torch.inference_mode()
    def step(self, step: Sequence[Scheduled]) -> Tensor:
        """Computes the scheduled tokens; float32 logits [B, V] of the sequences that yield one, in their order.

        The order of ``step`` is kept by the caller: sequences with one token first.
        """
        chunks = [_chunk(scheduled) for scheduled in step]
        rows = [self._rows(scheduled.request, chunk) for scheduled, chunk in zip(step, chunks, strict=True)]
        positions = [position for chunk in chunks for position in range(chunk.start, chunk.start + chunk.num_tokens)]
        hidden_ND = self.model(
            torch.cat(rows), torch.tensor(positions, device=self.device), self.cache.attention(chunks)
        )
        last_rows, end = [], 0
        for scheduled in step:
            end += scheduled.num_tokens
            if scheduled.yields_token:
                last_rows.append(end - 1)
        for scheduled in step:
            scheduled.request.num_computed_tokens += scheduled.num_tokens
        return self.model.logits(hidden_ND[last_rows])

    def _rows(self, request: Request, chunk: Chunk) -> Tensor:
        stop = chunk.start + chunk.num_tokens
        x_nD = self.model.embed(torch.tensor(request.token_ids(chunk.start, stop), device=self.device))
        if request.media_rows is not None:
            _put_media(x_nD, request, chunk.start, stop)
        return x_nD


def _chunk(scheduled: Scheduled) -> Chunk:
    assert scheduled.request.slot is not None, "a scheduled sequence holds a slot"
    return Chunk(scheduled.request.slot, scheduled.request.num_computed_tokens, scheduled.num_tokens)


def _put_media(x_nD: Tensor, request: Request, start: int, stop: int) -> None:
    """Overwrites the rows of placeholders at positions start to stop - 1 by the media rows they stand for."""
    assert request.media_rows is not None
    first_row = 0
    for span in request.spans:
        low, high = max(start, span.start), min(stop, span.start + span.num_tokens)
        if low < high:
            offset = first_row - span.start
            x_nD[low - start : high - start] = request.media_rows[low + offset : high + offset]
        first_row += span.num_tokens
