"""``Forward`` for a GPU: decode steps replay a recorded graph, steps with prompts run as they are.

Works on the CPU too (nothing is recorded there), which is how it is tested. Knows steps and a cache; knows nothing of
requests.
"""

from __future__ import annotations

import time

import structlog
import torch
from torch import Tensor

from llm_decoder.gpu.decode_graph import BUCKETS, DecodeGraph, bucket_of
from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.gpu.ops import Ops, best_ops
from llm_decoder.gpu.plan import num_splits, plan_of
from llm_decoder.kv_cache import KvCache
from llm_decoder.step_input import StepInput
from llm_decoder.transfer import upload
from trichord.cuda_graphs import Capture, capture_for

log = structlog.get_logger(__name__)


class CudaForward:
    """Computes steps of one model over one cache, whose last block it takes for itself.

    ``step.x_ND`` is on the model's device; indices are on the host, because how a step is run depends on them.
    """

    def __init__(
        self, model: FusedLlama, cache: KvCache, *, ops: Ops | None = None, capture: Capture | None = None
    ) -> None:
        self._model, self._cache = model, cache
        self._ops = ops or best_ops(model.config, model.device.type)
        self._capture = capture or capture_for(model.device)
        self._graphs: dict[int, DecodeGraph] = {}

    @torch.inference_mode()
    def warm_up(self, max_sequences: int) -> None:
        """Compiles, and records every bucket that up to ``max_sequences`` need; seconds each, and a line in the log."""
        self._run(self._prompt_step())
        largest = bucket_of(max_sequences) or BUCKETS[-1]
        for bucket in reversed([bucket for bucket in BUCKETS if bucket <= largest]):  # the small fit the large's memory
            started_s = time.monotonic()
            self._graph(bucket)
            log.info("decode steps recorded", sequences=bucket, seconds=round(time.monotonic() - started_s, 1))

    @torch.inference_mode()
    def __call__(self, step: StepInput) -> Tensor:
        """See ``Forward``. The next call overwrites the logits."""
        num_sequences = len(step.context_lens_B)
        bucket = bucket_of(num_sequences)
        if bucket is None or len(step.x_ND) > num_sequences:
            return self._run(step)
        logits_bV = self._graph(bucket)(step)
        if len(step.logit_rows_R) == num_sequences:
            return logits_bV[:num_sequences]
        return logits_bV[upload(step.logit_rows_R, logits_bV.device)]

    def _run(self, step: StepInput) -> Tensor:
        plan = plan_of(step, self._model.device)
        hidden_ND = self._model.hidden(step.x_ND, plan, self._cache, self._ops)
        return self._model.logits(hidden_ND[plan.logit_rows_R])

    def _prompt_step(self) -> StepInput:
        """Two tokens of a prompt, in the scratch block."""
        model, block_size = self._model, self._cache.block_size
        scratch_block = self._cache.keys.shape[1] - 1

        def int32(*values: int) -> Tensor:
            return torch.tensor(values, dtype=torch.int32)

        return StepInput(
            x_ND=torch.zeros(2, model.config.hidden_size, dtype=model.dtype, device=model.device),
            positions_N=int32(0, 1),
            slots_N=int32(scratch_block * block_size, scratch_block * block_size + min(1, block_size - 1)),
            query_starts=int32(0, 2),
            context_lens_B=int32(2),
            block_tables_BM=int32(scratch_block, scratch_block)[None],
            logit_rows_R=int32(1),
        )

    def _graph(self, bucket: int) -> DecodeGraph:
        if bucket not in self._graphs:
            splits = num_splits(bucket, self._model.config.num_key_value_heads, _num_cores(self._model.device))
            self._graphs[bucket] = DecodeGraph(bucket, self._model, self._cache, self._ops, self._capture, splits)
        return self._graphs[bucket]


def _num_cores(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
