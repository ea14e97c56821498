"""Names and shapes of every tensor of a checkpoint, from its config alone.

The names are those of the published Megrez-3B-Omni state dict (``llm.*``, ``vision.vpm.*``, ``vision.resampler.*``,
``audio.audio.*``; arXiv 2502.15803, section 3, and the authors' vLLM demo). Knows no file and no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from trichord.model_config import AudioConfig, LlmConfig, ModelConfig, VisionConfig

Shape = tuple[int, ...]
Tower = Literal["vision", "audio", "llm"]

PREFIXES: dict[Tower, str] = {"llm": "llm.", "vision": "vision.", "audio": "audio.audio."}
"""Prefix of the names of each tower's tensors: what one service loads, and nothing else."""

SKIPPED_SUFFIXES = (".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached")
"""Ends of names that old exports store and that are computed, not loaded."""

AUDIO_CONV_WIDTH = 3
IMAGE_CHANNELS = 3

_PARTS = (  # the first prefix that fits names the part
    ("llm.model.embed_tokens.", "token embedding"),
    ("llm.lm_head.", "output layer"),
    ("llm.", "language model"),
    ("vision.resampler.", "resampler"),
    ("vision.", "vision tower"),
    ("audio.audio.proj.", "audio projection"),
    ("audio.audio.audio_bos_eos_token.", "audio projection"),
    ("audio.", "audio encoder"),
)


def tensor_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Shape of every stored tensor, by name. Tied embeddings have no ``llm.lm_head.weight``."""
    return {
        **_under("llm.", _llm(config.llm)),
        **_under("vision.vpm.", _vision(config.vision)),
        **_under("vision.resampler.", _resampler(config)),
        **_under("audio.audio.", _audio(config.audio, config.llm.hidden_size)),
    }


def num_stored_bytes(config: ModelConfig) -> int:
    """Bytes of all tensors together, in the type that the config stores them in."""
    num_parameters = sum(math.prod(shape) for shape in tensor_shapes(config).values())
    return num_parameters * {"float32": 4, "bfloat16": 2}[config.dtype]


def is_skipped(name: str) -> bool:
    """Whether a stored tensor may be there and is not loaded."""
    return name.endswith(SKIPPED_SUFFIXES)


def parameters_by_part(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Number of parameters of each part of the model, in the order of the parts' first tensors."""
    counts: dict[str, int] = {}
    for name, shape in shapes.items():
        part = next(part for prefix, part in _PARTS if name.startswith(prefix))
        counts[part] = counts.get(part, 0) + math.prod(shape)
    return counts


def _under(prefix: str, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    return {prefix + name: shape for name, shape in shapes.items()}


def _linear(name: str, out_features: int, in_features: int) -> dict[str, Shape]:
    return {f"{name}.weight": (out_features, in_features), f"{name}.bias": (out_features,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _llm(llm: LlmConfig) -> dict[str, Shape]:
    """LLaMA with grouped-query attention (arXiv 2502.15803, Table 1); no biases."""
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (llm.vocab_size, llm.hidden_size)}
    for layer in range(llm.num_hidden_layers):
        shapes |= _under(f"model.layers.{layer}.", _llm_layer(llm))
    shapes["model.norm.weight"] = (llm.hidden_size,)
    if not llm.tie_word_embeddings:
        shapes["lm_head.weight"] = (llm.vocab_size, llm.hidden_size)
    return shapes


def _llm_layer(llm: LlmConfig) -> dict[str, Shape]:
    queries, keys = llm.num_attention_heads * llm.head_dim, llm.num_key_value_heads * llm.head_dim
    return {
        "self_attn.q_proj.weight": (queries, llm.hidden_size),
        "self_attn.k_proj.weight": (keys, llm.hidden_size),
        "self_attn.v_proj.weight": (keys, llm.hidden_size),
        "self_attn.o_proj.weight": (llm.hidden_size, queries),
        "mlp.gate_proj.weight": (llm.intermediate_size, llm.hidden_size),
        "mlp.up_proj.weight": (llm.intermediate_size, llm.hidden_size),
        "mlp.down_proj.weight": (llm.hidden_size, llm.intermediate_size),
        "input_layernorm.weight": (llm.hidden_size,),
        "post_attention_layernorm.weight": (llm.hidden_size,),
    }


def _vision(vision: VisionConfig) -> dict[str, Shape]:
    """SigLIP without its pooling head (arXiv 2303.15343; arXiv 2502.15803, Table 2)."""
    width, patch = vision.hidden_size, vision.patch_size
    shapes: dict[str, Shape] = {
        "embeddings.patch_embedding.weight": (width, IMAGE_CHANNELS, patch, patch),
        "embeddings.patch_embedding.bias": (width,),
        "embeddings.position_embedding.weight": (vision.positions_per_side**2, width),
    }
    for layer in range(vision.num_hidden_layers):
        shapes |= _under(f"encoder.layers.{layer}.", _vision_layer(vision))
    return shapes | _norm("post_layernorm", width)


def _vision_layer(vision: VisionConfig) -> dict[str, Shape]:
    width = vision.hidden_size
    return {
        **_linear("self_attn.q_proj", width, width),
        **_linear("self_attn.k_proj", width, width),
        **_linear("self_attn.v_proj", width, width),
        **_linear("self_attn.out_proj", width, width),
        **_norm("layer_norm1", width),
        **_linear("mlp.fc1", vision.intermediate_size, width),
        **_linear("mlp.fc2", width, vision.intermediate_size),
        **_norm("layer_norm2", width),
    }


def _resampler(config: ModelConfig) -> dict[str, Shape]:
    """One cross-attention layer to the LLM's width (arXiv 2502.15803, section 3.2; arXiv 2308.12966)."""
    width = config.llm.hidden_size
    return {
        "query": (config.resampler.num_queries, width),
        "kv_proj.weight": (width, config.vision.hidden_size),
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        **_linear("attn.out_proj", width, width),
        **_norm("ln_q", width),
        **_norm("ln_kv", width),
        **_norm("ln_post", width),
        "proj": (width, width),
    }


def _audio(audio: AudioConfig, llm_width: int) -> dict[str, Shape]:
    """Whisper's encoder in OpenAI's naming (arXiv 2212.04356) and the projection (arXiv 2502.15803, section 3.3)."""
    width = audio.n_state
    shapes: dict[str, Shape] = {
        "conv1.weight": (width, audio.n_mels, AUDIO_CONV_WIDTH),
        "conv1.bias": (width,),
        "conv2.weight": (width, width, AUDIO_CONV_WIDTH),
        "conv2.bias": (width,),
        "positional_embedding": (audio.n_ctx, width),
    }
    for layer in range(audio.n_layer):
        shapes |= _under(f"blocks.{layer}.", _audio_block(width))
    shapes |= _norm("ln_post", width) | _audio_projection(width, audio.codebook_size, llm_width)
    if audio.add_bos_eos:
        shapes["audio_bos_eos_token.weight"] = (2, llm_width)
    return shapes


def _audio_projection(width: int, codebook_size: int, llm_width: int) -> dict[str, Shape]:
    if not codebook_size:
        return _linear("proj", llm_width, width)
    return _linear("proj.scores", codebook_size, width) | {"proj.rows.weight": (llm_width, codebook_size)}


def _audio_block(width: int) -> dict[str, Shape]:
    return {
        **_linear("attn.query", width, width),
        "attn.key.weight": (width, width),  # Whisper's keys have no bias
        **_linear("attn.value", width, width),
        **_linear("attn.out", width, width),
        **_norm("attn_ln", width),
        **_linear("mlp.0", 4 * width, width),
        **_linear("mlp.2", width, 4 * width),
        **_norm("mlp_ln", width),
    }
