"""From a loaded model to a running engine on a GPU. Knows all parts of this package; knows no files and no settings."""

from __future__ import annotations

import torch

from llm_decoder.gpu.cuda_forward import CudaForward
from llm_decoder.gpu.device_sampler import DeviceSampler
from llm_decoder.gpu.fused_llama import FusedLlama
from llm_decoder.gpu.gpu_runner import GpuRunner
from llm_decoder.gpu.overlapped_engine import OverlappedEngine
from llm_decoder.kv_cache import KvCache
from llm_decoder.llama import Llama
from llm_decoder.scheduler import Scheduler
from llm_decoder.transfer import on_device


def start_engine(
    model: Llama, scheduler: Scheduler, device: torch.device | str, cache_dtype: torch.dtype | None = None
) -> OverlappedEngine:
    """An engine on ``device`` over the scheduler's blocks, warmed up. ``model`` may lie on the CPU; it is copied.

    ``cache_dtype``: the model's own if None, or int8.
    """
    blocks, max_running = scheduler.blocks, scheduler.limits.max_running
    fused = FusedLlama(model, device)
    scratch = 1  # a block for padded rows, of which the scheduler knows nothing
    dtype = cache_dtype or model.dtype
    cache = KvCache(model.config, blocks.num_blocks + scratch, blocks.block_size, dtype, str(device))
    forward = CudaForward(fused, cache)
    with on_device(fused.device):
        forward.warm_up(max_running)
    sampler = DeviceSampler(model.config.vocab_size, max_running, device)
    return OverlappedEngine(GpuRunner(fused, forward, blocks.block_size), scheduler, sampler)
