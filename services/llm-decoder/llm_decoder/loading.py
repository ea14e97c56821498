"""From settings to a running engine: config, weights, cache, thread. The one place that knows all parts."""

from __future__ import annotations

import torch
from pydantic import Field

from llm_decoder.engine import Engine
from llm_decoder.llama import Llama
from llm_decoder.model_runner import ModelRunner
from llm_decoder.scheduler import Scheduler
from trichord.checkpoint.weights import load_into
from trichord.model_config import ModelConfig
from trichord.settings import ModelSettings


class EngineSettings(ModelSettings):
    """What the engine inside Triton is told."""

    num_slots: int = Field(8, ge=1, le=1024, description="Sequences in progress at once; each holds a whole context.")
    max_waiting: int = Field(256, ge=1, description="Sequences that may wait for a slot; more are refused.")
    step_tokens: int = Field(
        256,
        ge=2,
        description="Tokens of a step, decoding and prompts together: bounds how long a prompt holds others up.",
    )


def load_engine(settings: EngineSettings) -> Engine:
    """Loads the decoder's share of the checkpoint and starts its engine. Raises CheckpointError."""
    config = ModelConfig.read(settings.checkpoint)
    dtype: torch.dtype = getattr(torch, settings.dtype or config.dtype)
    with torch.device("meta"):
        model = Llama(config.llm)
    load_into(model, settings.checkpoint, "llm.", dtype)
    scheduler = Scheduler(
        num_slots=settings.num_slots, max_waiting=settings.max_waiting, step_tokens=settings.step_tokens
    )
    return Engine(ModelRunner(model.eval().requires_grad_(False), settings.num_slots), scheduler)
