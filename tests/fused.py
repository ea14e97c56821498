"""The whole model in one process, as the cluster's counterpart: same weights, no split, no batch, no cache.

Preprocessing and prompt are the fronts' own; the towers run in this process; the LLaMA is transformers', so that the
greedy answer rests on an implementation that is not ours. Float32.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trichord.checkpoint.weights import load_into
from trichord.model_config import LlmConfig


def independent_llama(config: LlmConfig, checkpoint: Path) -> LlamaForCausalLM:
    """transformers' LLaMA with a checkpoint's weights, float32."""
    shape = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate_size,
        rms_norm_eps=config.rms_norm_eps,
        rope_theta=config.rope_theta,
        max_position_embeddings=config.max_position_embeddings,
        tie_word_embeddings=config.tie_word_embeddings,
    )
    llama = LlamaForCausalLM(shape)
    load_into(llama, checkpoint, "llm.", torch.float32)
    llama.tie_weights()
    return llama.eval().requires_grad_(False)
