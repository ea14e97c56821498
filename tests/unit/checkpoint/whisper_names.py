"""OpenAI's names of Whisper's tensors and sizes as Hugging Face's, for the tests against its encoder."""

from __future__ import annotations

from transformers import WhisperConfig

from trichord.model_config import AudioConfig

_NAMES = (
    ("blocks.", "layers."),
    ("attn_ln", "self_attn_layer_norm"),
    ("attn.query", "self_attn.q_proj"),
    ("attn.key", "self_attn.k_proj"),
    ("attn.value", "self_attn.v_proj"),
    ("attn.out", "self_attn.out_proj"),
    ("mlp_ln", "final_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
    ("ln_post", "layer_norm"),
    ("positional_embedding", "embed_positions.weight"),
)

CONNECTOR = frozenset({"proj.weight", "proj.bias", "audio_bos_eos_token.weight"})
"""Tensors under ``audio.audio.`` that are not Whisper's."""


def hugging_face_config(audio: AudioConfig) -> WhisperConfig:
    """The sizes of an encoder in transformers' terms."""
    return WhisperConfig(
        d_model=audio.n_state,
        encoder_layers=audio.n_layer,
        encoder_attention_heads=audio.n_head,
        encoder_ffn_dim=4 * audio.n_state,
        num_mel_bins=audio.n_mels,
        max_source_positions=audio.n_ctx,
    )


def hugging_face_name(name: str) -> str:
    """The name in transformers' WhisperEncoder of a tensor, whose ``audio.audio.`` is taken off."""
    for ours, theirs in _NAMES:
        name = name.replace(ours, theirs)
    return name
