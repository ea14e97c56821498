"""From settings to a running engine: config, weights, cache, thread. The one place that knows all parts."""

from __future__ import annotations

from typing import Literal

import structlog
import torch
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.gpu.starting import start_engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.llama import Llama
from llm_decoder.model_runner import ModelRunner
from llm_decoder.native.step import NativeStep
from llm_decoder.sampler import Sampler
from llm_decoder.scheduler import Limits, Scheduler
from llm_decoder.step_input import Forward
from trichord.checkpoint.weights import load_into
from trichord.errors import SettingsError
from trichord.model_config import LlmConfig, ModelConfig
from trichord.settings import ModelSettings, Settings

log = structlog.get_logger(__name__)


class EngineSettings(Settings):
    """What the engine inside Triton is told beside its model: environment variables TRICHORD_ENGINE_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_ENGINE_")

    kv_cache_bytes: int = Field(
        1 << 30, gt=0, description="Memory for keys and values, in bytes; what does not fit waits or is preempted."
    )
    kv_dtype: Literal["own", "int8"] = Field(
        "own",
        description="Type of keys and values: the model's, or int8 with a scale for each token and head, which holds "
        "almost twice the positions of bfloat16, at a small loss; on GPUs, and where torch computes the steps.",
    )
    block_size: int = Field(16, ge=1, le=256, description="Positions of a cache block: the grain of prefix reuse.")
    max_running: int = Field(32, ge=1, le=1024, description="Sequences in progress at once.")
    max_waiting: int = Field(256, ge=1, description="Sequences that may wait; more are refused.")
    step_tokens: int = Field(256, ge=2, description="Tokens of a step, prompts and decoding sequences together.")
    prompt_share: int = Field(
        12, ge=1, description="Prompt tokens of a step for each decoding sequence's patience; see scheduler.Limits."
    )
    max_hold_ms: float = Field(
        160.0,
        ge=0,
        le=1000,
        description="Longest between two messages of one of many streams, in milliseconds; 0: one a token.",
    )
    weights: Literal["own", "int8"] = Field(
        "own", description="int8 halves the bytes that a step reads, at some loss; bfloat16 on the CPU only."
    )


def load_engine(told: ModelSettings, settings: EngineSettings, device: str = "cpu") -> Engine:
    """Loads the decoder's share of the checkpoint that ``told`` names and starts its engine on ``device``.

    Raises CheckpointError or SettingsError.
    """
    config = ModelConfig.read(told.checkpoint)
    dtype: torch.dtype = getattr(torch, told.dtype or config.dtype)
    with torch.device("meta"):
        model = Llama(config.llm)
    load_into(model, told.checkpoint, "llm.", dtype)
    model.eval().requires_grad_(False)
    scheduler = new_scheduler(config.llm, dtype, settings)
    if device != "cpu":
        if settings.weights == "int8":
            raise SettingsError("int8 weights run on the CPU only.")
        return start_engine(model, scheduler, device, cache_dtype(dtype, settings))
    cache = KvCache(config.llm, scheduler.blocks.num_blocks, settings.block_size, cache_dtype(dtype, settings), "cpu")
    forward = _forward(model, cache, settings, told.threads)
    sampler = Sampler(forward.likeliest) if isinstance(forward, NativeStep) else Sampler()
    return Engine(ModelRunner(model, forward, settings.block_size), scheduler, sampler)


def new_scheduler(config: LlmConfig, dtype: torch.dtype, settings: EngineSettings) -> Scheduler:
    """A scheduler over as many blocks as the memory for keys and values holds; ``dtype``: the model's.

    Raises SettingsError.
    """
    if settings.step_tokens <= settings.max_running:
        raise SettingsError("TRICHORD_ENGINE_STEP_TOKENS must be more than TRICHORD_ENGINE_MAX_RUNNING.")
    block_bytes = KvCache.bytes_per_token(config, cache_dtype(dtype, settings)) * settings.block_size
    num_blocks = max(1, settings.kv_cache_bytes // block_bytes)
    limits = Limits(
        max_running=settings.max_running,
        max_waiting=settings.max_waiting,
        step_tokens=settings.step_tokens,
        prompt_share=settings.prompt_share,
    )
    return Scheduler(BlockManager(num_blocks, settings.block_size), limits)


def cache_dtype(dtype: torch.dtype, settings: EngineSettings) -> torch.dtype:
    """Type in which keys and values of a model of ``dtype`` are kept."""
    return torch.int8 if settings.kv_dtype == "int8" else dtype


def _forward(model: Llama, cache: KvCache, settings: EngineSettings, threads: int) -> Forward:
    """The fastest way to compute a step here; the log says which, and why not another."""
    reason = NativeStep.is_supported(model, settings.block_size)
    if reason is None:
        if settings.kv_dtype == "int8":
            raise SettingsError(
                "The native step keeps keys and values in bfloat16. Leave TRICHORD_ENGINE_KV_DTYPE unset on this CPU "
                "(with TRICHORD_MODEL_DTYPE=float32, torch computes the steps, more slowly, and may keep int8)."
            )
        log.info("steps are computed natively", weights=settings.weights, threads=threads)
        weights: Literal["bf16", "int8"] = "int8" if settings.weights == "int8" else "bf16"
        return NativeStep(model, cache.keys, cache.values, weights=weights, threads=threads)
    if settings.weights == "int8":
        raise SettingsError(f"int8 weights need the native step: {reason}")
    log.info("steps are computed by torch", reason=reason)
    return TorchForward(model, cache)
