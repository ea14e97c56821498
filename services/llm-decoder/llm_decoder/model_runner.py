"""One step of the model: scheduled tokens in, logits of the sequences that may go on out.

Knows tensors and the media rows of requests; knows nothing of sampling, of threads or of when to run.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from llm_decoder.llama import Llama
from llm_decoder.request import Request
from llm_decoder.scheduler import Scheduled
from llm_decoder.step_input import Forward, step_input


class ModelRunner:
    """Embeds a step's tokens and media on the CPU, and computes it by ``forward``."""

    def __init__(self, model: Llama, forward: Forward, block_size: int) -> None:
        self.config, self._forward, self._block_size = model.config, forward, block_size
        weight_VD = model.model.embed_tokens.weight.detach()
        # numpy knows no bfloat16, but gathers rows without knowing their type. Between two steps, when nothing of it or
        # of torch is in the caches, it takes two fifths of torch's time.
        self._table, self._dtype = weight_VD.view(torch.int16).numpy(), weight_VD.dtype

    @torch.inference_mode()
    def step(self, step: Sequence[Scheduled]) -> Tensor:
        """Computes the scheduled tokens; float32 logits [B, V] of the sequences that yield one, in their order.

        Sequences with one token come first in ``step``.
        """
        ids: list[int] = []
        media: list[tuple[int, Tensor]] = []
        for request, num_tokens in step:
            start = request.num_computed_tokens
            if request.media_rows is not None:
                media += media_in(request, start, start + num_tokens, len(ids))
            ids += request.token_ids(start, start + num_tokens)
        x_ND = torch.from_numpy(self._table[ids]).view(self._dtype)
        for at, rows in media:
            x_ND[at : at + len(rows)] = rows
        return self._forward(step_input(step, x_ND, self._block_size))


def media_in(request: Request, start: int, stop: int, at: int) -> list[tuple[int, Tensor]]:
    """Where media rows fall among positions start to stop - 1, which begin at ``at`` of the step, and the rows."""
    assert request.media_rows is not None
    found, first_row = [], 0
    for span in request.spans:
        low, high = max(start, span.start), min(stop, span.start + span.num_tokens)
        if low < high:
            offset = first_row - span.start
            found.append((at + low - start, request.media_rows[low + offset : high + offset]))
        first_row += span.num_tokens
    return found
