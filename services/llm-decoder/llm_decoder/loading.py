"""From settings to a running engine: config, weights, cache, thread. The one place that knows all parts."""

from __future__ import annotations

import torch
from pydantic import Field

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.llama import Llama
from llm_decoder.model_runner import ModelRunner
from llm_decoder.scheduler import Limits, Scheduler
from trichord.checkpoint.weights import load_into
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings


class EngineSettings(ModelSettings):
    """What the engine inside Triton is told."""

    kv_cache_bytes: int = Field(
        1 << 30, gt=0, description="Memory for keys and values, in bytes; what does not fit waits or is preempted."
    )
    block_size: int = Field(16, ge=1, le=256, description="Positions of a cache block: the grain of prefix reuse.")
    max_running: int = Field(32, ge=1, le=1024, description="Sequences in progress at once.")
    max_waiting: int = Field(256, ge=1, description="Sequences that may wait; more are refused.")
    step_tokens: int = Field(
        256,
        ge=2,
        description="Tokens of a step, prompts included: bounds how long a prompt holds the others up.",
    )


def load_engine(settings: EngineSettings) -> Engine:
    """Loads the decoder's share of the checkpoint and starts its engine. Raises CheckpointError."""
    config = ModelConfig.read(settings.checkpoint)
    dtype: torch.dtype = getattr(torch, settings.dtype or config.dtype)
    with torch.device("meta"):
        model = Llama(config.llm)
    load_into(model, settings.checkpoint, "llm.", dtype)
    model.eval().requires_grad_(False)
    block_bytes = KvCache.bytes_per_token(config.llm, dtype) * settings.block_size
    num_blocks = max(1, settings.kv_cache_bytes // block_bytes)
    cache = KvCache(config.llm, num_blocks, settings.block_size, dtype, "cpu")
    limits = Limits(
        max_running=settings.max_running, max_waiting=settings.max_waiting, step_tokens=settings.step_tokens
    )
    scheduler = Scheduler(BlockManager(num_blocks, settings.block_size), limits)
    return Engine(ModelRunner(model, TorchForward(model, cache), settings.block_size), scheduler)
