"""A step's indices on the device, and how its attention is cut into programs.

Shapes: N tokens, B sequences, M blocks of a table, T tiles, R rows whose logits are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_decoder.step_input import StepInput
from llm_decoder.transfer import upload

PROMPT_TILE = 16
"""Consecutive queries of a sequence that one program takes, with all heads of a group: 64 rows for groups of 4."""

MAX_SPLITS = 16
PROGRAMS_PER_CORE = 2
"""Programs that decoding aims at for each of the device's multiprocessors, so that all of them load keys at once."""


ALIGNMENT = 4
"""int32 values in the 16 bytes that kernels load at once."""


class Prompt(NamedTuple):
    """A chunk of a prompt within a step."""

    sequence: int
    start: int
    stop: int
    context_len: int


@dataclass(frozen=True)
class Plan:
    """What the layers of one step share. Tensors are int32 and on the device; the rest is the host's."""

    positions_N: Tensor
    slots_N: Tensor
    tables_BM: Tensor
    tiles_T3: Tensor
    """Sequence, first token and number of tokens of each tile."""
    logit_rows_R: Tensor
    tile_tokens: int
    """Most tokens of a tile."""
    num_splits: int
    """Programs that share a sequence's keys."""
    num_decodes: int
    """Sequences with one new token; they come first."""
    prompts: Sequence[Prompt]
    """The other sequences."""


def plan_of(step: StepInput, device: torch.device) -> Plan:
    """The plan of any step, uploaded in one copy."""
    starts, lens = step.query_starts.tolist(), step.context_lens_B.tolist()
    num_decodes = step.num_decodes
    sequences = range(num_decodes, len(lens))
    parts = [step.positions_N, step.slots_N, step.block_tables_BM, tiles(starts, PROMPT_TILE), step.logit_rows_R]
    positions_N, slots_N, tables_BM, tiles_T3, rows_R = _upload_together(parts, device)
    prompts = [Prompt(i, starts[i], starts[i + 1], lens[i]) for i in sequences]
    return Plan(positions_N, slots_N, tables_BM, tiles_T3, rows_R, PROMPT_TILE, 1, num_decodes, prompts)


def tiles(starts: Sequence[int], tile_tokens: int) -> Tensor:
    """int32 [T, 3] on the host: every sequence's new tokens, cut every ``tile_tokens``."""
    cut = [
        (sequence, first, min(tile_tokens, stop - first))
        for sequence, (start, stop) in enumerate(pairwise(starts))
        for first in range(start, stop, tile_tokens)
    ]
    return torch.tensor(cut, dtype=torch.int32).view(-1, 3)


def num_splits(num_sequences: int, num_kv_heads: int, num_cores: int) -> int:
    """A power of two: programs that share the keys of one decoding sequence and head."""
    wanted = PROGRAMS_PER_CORE * num_cores / (num_sequences * num_kv_heads)
    splits = 1
    while splits < min(wanted, MAX_SPLITS):
        splits *= 2
    return splits


def _upload_together(parts: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """One copy for all; each part begins on 16 bytes, or kernels would be compiled again for every other alignment."""
    padded = [F.pad(part.flatten(), (0, -part.numel() % ALIGNMENT)) for part in parts]
    pieces = torch.split(upload(torch.cat(padded), device), [len(piece) for piece in padded])
    return [piece[: part.numel()].view(part.shape) for piece, part in zip(pieces, parts, strict=True)]
