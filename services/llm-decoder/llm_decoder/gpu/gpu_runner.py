"""One step of the model on a GPU: like ``ModelRunner``, but a token that only the device knows is taken from there.

Knows tensors, media rows and which tokens the host has not seen; knows nothing of sampling or of when to run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.model_runner import media_in
from llm_decoder.request import Request
from llm_decoder.scheduler import Scheduled
from llm_decoder.step_input import Forward, step_input
from llm_decoder.transfer import upload


class Unseen(NamedTuple):
    """Tokens of the step before, still on their way to the host."""

    rows: Mapping[Request, int]
    """Where each sequence's is."""
    tokens_B: Tensor


class GpuRunner:
    """Embeds a step's tokens and media on the device, and computes it by ``forward``."""

    def __init__(self, model: FusedLlama, forward: Forward, block_size: int) -> None:
        self.config, self.device = model.config, model.device
        self._model, self._forward, self._block_size = model, forward, block_size

    @torch.inference_mode()
    def step(self, step: Sequence[Scheduled], unseen: Unseen | None = None) -> Tensor:
        """See ``ModelRunner.step``. A sequence's token that the host lacks is its one of ``unseen``."""
        ids: list[int] = []
        rows: list[int] = []
        media: list[tuple[int, Tensor]] = []
        for request, num_tokens in step:
            start = request.num_computed_tokens
            if request.media_rows is not None:
                media += media_in(request, start, start + num_tokens, len(ids))
            is_unseen = bool(request.num_unseen_tokens)
            ids += [0] if is_unseen else request.token_ids(start, start + num_tokens)
            rows += [unseen.rows[request]] if unseen and is_unseen else [-1] * num_tokens
        x_ND = self._model.embed(self._ids(ids, rows, unseen))
        for at, media_rows in media:
            x_ND[at : at + len(media_rows)] = upload(media_rows, self.device)
        return self._forward(step_input(step, x_ND, self._block_size))

    def _ids(self, ids: list[int], rows: list[int], unseen: Unseen | None) -> Tensor:
        ids_and_rows = upload(torch.tensor([ids, rows], dtype=torch.int64), self.device)
        ids_N, rows_N = ids_and_rows[0], ids_and_rows[1]
        if unseen is None or not len(unseen.tokens_B):
            return ids_N
        return torch.where(rows_N < 0, ids_N, unseen.tokens_B.index_select(0, rows_N.clamp(min=0)))
