"""Which tokens sequences have seen and said, as tables on the device; and the penalties that depend on them.

A sequence has a row from the first step in which it needs one until another needs it more; a row that was taken away is
filled again from what the host knows. Shapes: B sequences, V vocabulary, R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from llm_decoder.request import Request
from llm_decoder.transfer import upload


def penalises(request: Request) -> bool:
    """Whether what the sequence has seen changes its logits."""
    sampling = request.sampling
    return sampling.repetition_penalty != 1 or bool(sampling.presence_penalty or sampling.frequency_penalty)


class _Batch(NamedTuple):
    """What is the same in every step of the same sequences."""

    requests: Sequence[Request]
    rows_B: Tensor
    repetition_B1: Tensor
    presence_B1: Tensor
    frequency_B1: Tensor


class TokenTables:
    """Rows for at most ``max_sequences`` sequences at once: 5 bytes for each token of the vocabulary and row."""

    def __init__(self, vocab_size: int, max_sequences: int, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self._seen_RV = torch.zeros(max_sequences, vocab_size, dtype=torch.bool, device=device)
        self._said_RV = torch.zeros(max_sequences, vocab_size, dtype=torch.int32, device=device)
        self._rows: WeakKeyDictionary[Request, int] = WeakKeyDictionary()
        self._batch: _Batch | None = None

    def penalised(self, logits_BV: Tensor, requests: Sequence[Request]) -> Tensor:
        """Logits after repetition (CTRL, arXiv 1909.05858), presence and frequency penalties."""
        batch = self._batch_of(requests)
        seen_BV, said_BV = (table.index_select(0, batch.rows_B) for table in (self._seen_RV, self._said_RV))
        scaled_BV = torch.where(logits_BV > 0, logits_BV / batch.repetition_B1, logits_BV * batch.repetition_B1)
        logits_BV = torch.where(seen_BV, scaled_BV, logits_BV)
        return logits_BV - torch.where(said_BV > 0, batch.presence_B1 + batch.frequency_B1 * said_BV, 0.0)

    def add(self, tokens_B: Tensor, requests: Sequence[Request]) -> None:
        """Each sequence has said one more token."""
        cells = self._batch_of(requests).rows_B, tokens_B
        self._seen_RV[cells] = self._seen_RV.new_ones(())
        self._said_RV[cells] += 1

    def _batch_of(self, requests: Sequence[Request]) -> _Batch:
        if self._batch is None or self._batch.requests != requests:
            rows = self._rows_of(requests)
            each = [request.sampling for request in requests]
            penalties = [[s.repetition_penalty, s.presence_penalty, s.frequency_penalty] for s in each]
            columns_3B1 = upload(torch.tensor(penalties, dtype=torch.float32).T[..., None].contiguous(), self._device)
            self._batch = _Batch(list(requests), upload(torch.tensor(rows), self._device), *columns_3B1)
        return self._batch

    def _rows_of(self, requests: Sequence[Request]) -> list[int]:
        for request in requests:
            if request not in self._rows:
                self._rows[request] = self._free_row(requests)
                self._fill(self._rows[request], request)
        return [self._rows[request] for request in requests]

    def _free_row(self, wanted: Sequence[Request]) -> int:
        taken = set(self._rows.values())
        for row in range(len(self._seen_RV)):
            if row not in taken:
                return row
        resting = next(request for request in self._rows if request not in wanted)
        return self._rows.pop(resting)

    def _fill(self, row: int, request: Request) -> None:
        """Writes what the host knows of a sequence into its row."""
        said = request.output_counts
        ids = sorted({*request.prompt_ids, *said})
        ids_and_counts = torch.tensor([ids, [said[token_id] for token_id in ids]], dtype=torch.int64)
        ids_n, counts_n = upload(ids_and_counts, self._device)
        self._seen_RV[row].zero_().index_fill_(0, ids_n, True)
        self._said_RV[row].zero_().index_copy_(0, ids_n, counts_n.int())
