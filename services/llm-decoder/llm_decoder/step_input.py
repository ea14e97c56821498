"""What one step computes, as tensors: the seam between the scheduler's world and the ways to compute a step.

Shapes: N tokens of all sequences side by side, D hidden, B sequences, M blocks of the longest table, R rows whose
logits are wanted, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from llm_decoder.scheduler import Scheduled


@dataclass(frozen=True)
class StepInput:
    """Sequences with one new token come first; the others are chunks of prompts.

    All but the embeddings are on the host, wherever these are: how a step is run depends on them.
    """

    x_ND: Tensor
    """Embeddings of the new tokens."""
    positions_N: Tensor
    """int32: where each stands in its sequence."""
    slots_N: Tensor
    """int32: where its keys and values go: block * block_size + offset."""
    query_starts: Tensor
    """int32 [B + 1]: first token of each sequence, and N."""
    context_lens_B: Tensor
    """int32: positions of each sequence, the new ones included."""
    block_tables_BM: Tensor
    """int32: the blocks of each sequence in order; what is past its context is 0."""
    logit_rows_R: Tensor
    """int32: tokens whose logits are wanted."""

    @property
    def num_decodes(self) -> int:
        """Sequences with one new token."""
        return int((self.query_starts.diff() == 1).sum())


class Forward(Protocol):
    """A way to compute a step."""

    def __call__(self, step: StepInput) -> Tensor:
        """Stores the new keys and values; float32 logits [R, V]."""


def step_input(step: Sequence[Scheduled], x_ND: Tensor, block_size: int) -> StepInput:
    """The tensors of a scheduled step whose tokens have the embeddings ``x_ND``."""
    positions, slots, starts, rows = [], [], [0], []
    for request, num_tokens in step:
        first = request.num_computed_tokens
        for position in range(first, first + num_tokens):
            positions.append(position)
            slots.append(request.block_table[position // block_size] * block_size + position % block_size)
        starts.append(starts[-1] + num_tokens)
        if num_tokens == request.num_uncomputed_tokens:
            rows.append(starts[-1] - 1)
    lens = [request.num_computed_tokens + num_tokens for request, num_tokens in step]
    widest = max(-(-length // block_size) for length in lens)
    tables = [(request.block_table + [0] * widest)[:widest] for request, _ in step]

    def int32(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.int32)

    return StepInput(x_ND, int32(positions), int32(slots), int32(starts), int32(lens), int32(tables), int32(rows))
