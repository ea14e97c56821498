"""A decode step of a fixed number of sequences: static buffers around one recorded computation.

Fewer sequences are padded to the bucket: a padded row is a sequence of one token whose key and value go to the scratch
block, the last of the cache, which belongs to nobody. Shapes: b rows of the bucket, M blocks of the longest table.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.gpu.ops import Ops
from llm_decoder.gpu.plan import ALIGNMENT, Plan, tiles
from llm_decoder.kv_cache import KvCache
from llm_decoder.step_input import StepInput
from trichord.cuda_graphs import Capture

BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Sequences that a decode step is padded to."""


def bucket_of(num_sequences: int) -> int | None:
    """The smallest bucket that holds so many; None beyond the largest."""
    return next((bucket for bucket in BUCKETS if bucket >= num_sequences), None)


class DecodeGraph:
    """One bucket's recorded step."""

    def __init__(
        self, bucket: int, model: FusedLlama, cache: KvCache, ops: Ops, capture: Capture, num_splits: int
    ) -> None:
        self._indices = _Indices(bucket, model, cache)
        self._x_bD = torch.zeros(bucket, model.config.hidden_size, dtype=model.dtype, device=model.device)
        self._logits_bV = torch.empty(0)
        plan = self._indices.plan(num_splits)

        def work() -> None:
            self._logits_bV = model.logits(model.hidden(self._x_bD, plan, cache, ops))

        self._replay = capture(work)

    def __call__(self, step: StepInput) -> Tensor:
        """float32 logits [b, V] of a step with one token of each sequence; the next replay overwrites them."""
        self._indices.fill(step)
        self._x_bD[: len(step.x_ND)] = step.x_ND
        self._replay()
        return self._logits_bV


class _Indices:
    """The indices of a padded step at fixed places: one tensor, so that one copy fills it."""

    def __init__(self, bucket: int, model: FusedLlama, cache: KvCache) -> None:
        num_blocks, self.block_size = cache.keys.shape[1], cache.block_size
        self.bucket, self.width = bucket, max(bucket, ALIGNMENT)
        max_blocks = -(-model.config.max_position_embeddings // cache.block_size)
        self.scratch_block = num_blocks - 1
        self._blank = torch.full((2 * self.width + bucket * max_blocks,), self.scratch_block, dtype=torch.int32)
        positions_b, slots_b, _ = self._views(self._blank)
        positions_b[:] = 0
        slots_b[:] = self.scratch_block * cache.block_size
        self._placed = self._blank.to(model.device, copy=True)

    def plan(self, num_splits: int) -> Plan:
        """The plan over the fixed places."""
        positions_b, slots_b, tables_bM = self._views(self._placed)
        tiles_b3 = tiles(range(self.bucket + 1), 1).to(self._placed.device)
        rows_b = torch.arange(self.bucket, dtype=torch.int32, device=self._placed.device)
        return Plan(positions_b, slots_b, tables_bM, tiles_b3, rows_b, 1, num_splits, self.bucket, ())

    def fill(self, step: StepInput) -> None:
        """Puts a step's indices there, and padding behind them."""
        # A buffer of its own for each step: the copy may still be waiting when the next step is filled in.
        filled = torch.empty_like(self._blank, pin_memory=self._placed.is_cuda).copy_(self._blank)
        for place, values in zip(self._views(filled), _indices_of(step), strict=True):
            place[tuple(map(slice, values.shape))] = values
        self._placed.copy_(filled, non_blocking=True)

    def _views(self, packed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        positions, slots, tables = torch.split(packed, [self.width, self.width, len(packed) - 2 * self.width])
        return positions[: self.bucket], slots[: self.bucket], tables.view(self.bucket, -1)


def _indices_of(step: StepInput) -> tuple[Tensor, Tensor, Tensor]:
    return step.positions_N, step.slots_N, step.block_tables_BM
