"""Models of random weights, made where they run; and transformers' own LLaMA, asked for the same answers.

Speed does not depend on the weights' values. Knows configs; knows nothing of the setting.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

from bench.gpu_limits import seconds
from llm_decoder.llama import Llama
from trichord.model_config import LlmConfig, ModelConfig
from vision_encoder.encoder import VisionEncoder

STD = 0.02


def random_llama(config: LlmConfig, dtype: torch.dtype, device: torch.device) -> Llama:
    """A decoder on ``device``."""
    with torch.device("meta"):
        model = Llama(config)
    filled(model, dtype, device)
    return model


def random_vision(config: ModelConfig, dtype: torch.dtype, device: torch.device) -> VisionEncoder:
    """A vision module on ``device``."""
    with torch.device("meta"):
        module = VisionEncoder(config)
    filled(module, dtype, device)
    return module


def filled(module: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Moves a module from the meta device; norms become ones, all else small and random."""
    module.to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if "norm" in name or "ln_" in name:
            parameter.fill_(float(name.endswith("weight")))
        else:
            parameter.normal_(std=STD)


def transformers_tokens_per_s(
    config: LlmConfig, dtype: torch.dtype, device: torch.device, num_sequences: int, num_prompt: int, num_output: int
) -> float | None:
    """Output tokens a second of ``generate`` over one batch of embeddings, prompts included; None if not installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    model = _transformers_llama(config, dtype, device)
    prompts = STD * torch.randn(num_sequences, num_prompt, config.hidden_size, dtype=dtype, device=device)
    asked: dict[str, Any] = {
        "input_ids": torch.arange(num_prompt, device=device).expand(num_sequences, -1) % 256,  # for the penalty
        "inputs_embeds": prompts,
        "attention_mask": torch.ones(prompts.shape[:2], dtype=torch.int64, device=device),
        "min_new_tokens": num_output,
        "max_new_tokens": num_output,
        "repetition_penalty": 1.2,
        "do_sample": False,
        "pad_token_id": 0,
    }
    with torch.inference_mode():
        took_s = seconds(lambda: model.generate(**asked), device, repeats=2, warm_ups=1)
    return num_sequences * num_output / took_s


def _transformers_llama(config: LlmConfig, dtype: torch.dtype, device: torch.device) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = config.model_dump(exclude={"rope_theta"})
    settings = LlamaConfig(**sizes, rope_theta=config.rope_theta, bos_token_id=None, eos_token_id=None)
    # Not by way of the meta device: its rotary tables are buffers that would stay unfilled.
    with torch.device(device):
        model = LlamaForCausalLM(settings).to(dtype)
    return model.eval()
