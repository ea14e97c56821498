"""The checkpoints that Trichord knows by name.

A preset is a complete config; ``trichord.checkpoint.pull`` says where its weights come from. Knows no file.
"""

from __future__ import annotations

from trichord.errors import CheckpointError
from trichord.model_config import (
    AudioConfig,
    LlmConfig,
    ModelConfig,
    PromptConfig,
    ResamplerConfig,
    SlicingConfig,
    VisionConfig,
)

TINY_VOCAB_SIZE = 272
"""256 bytes, 12 special tokens, and rows that no token uses, as Megrez's own table has."""

_MEGREZ_PROMPT = PromptConfig(
    turn=["<|role_start|>", "{role}", "<|role_end|>", "{content}", "<|turn_end|>"],
    answer_opening=["<|role_start|>", "assistant", "<|role_end|>"],
    default_system="你是Megrez-3B-Instruct，将针对用户的问题给出详细的、积极的回答。",
    stop_tokens=["<|turn_end|>", "<|eos|>", "<|turn_end>"],  # the last is a misspelling that was once trained on
    placeholder="<|unk|>",
    image_start="<|image_start|>",
    image_end="<|image_end|>",
    slice_start="<|slice_start|>",
    slice_end="<|slice_end|>",
    audio_start="<|audio_start|>",
    audio_end="<|audio_end|>",
    row_separator="\n",
    after_image="\n",
    before_audio="Audio {k}: ",
    after_audio="\n",
)

_SMOL_PROMPT = PromptConfig(
    turn=["<|im_start|>", "{role}", "\n", "{content}", "<|im_end|>", "\n"],
    answer_opening=["<|im_start|>", "assistant", "\n"],
    default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    stop_tokens=["<|im_end|>", "<|endoftext|>"],
    # SmolLM2 has no tokens for media; these are of its vocabulary and mean nothing to a conversation.
    placeholder="<empty_output>",
    image_start="<jupyter_start>",
    image_end="<jupyter_output>",
    slice_start="<jupyter_code>",
    slice_end="<jupyter_text>",
    audio_start="<issue_start>",
    audio_end="<issue_closed>",
    row_separator="\n",
    after_image="\n",
    before_audio="Audio {k}: ",
    after_audio="\n",
)

_TINY = ModelConfig(
    model="tiny",
    note="Seeded random weights, for tests: every part is there, and nothing it says means anything.",
    dtype="float32",
    llm=LlmConfig(
        vocab_size=TINY_VOCAB_SIZE,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        rms_norm_eps=1e-5,
        rope_theta=10_000.0,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    ),
    vision=VisionConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        patch_size=14,
        image_size=980,
        layer_norm_eps=1e-6,
    ),
    resampler=ResamplerConfig(num_queries=16, num_attention_heads=4, layer_norm_eps=1e-6),
    slicing=SlicingConfig(max_slices=9, scale_resolution=112),
    audio=AudioConfig(n_mels=80, n_ctx=1500, n_state=32, n_head=2, n_layer=2, avg_pool=True, add_bos_eos=True),
    prompt=_MEGREZ_PROMPT.model_copy(update={"default_system": "You are tiny."}),
)

_SMOL = ModelConfig(
    model="smol",
    note=(
        "Text is real: SmolLM2-135M-Instruct (from a 4-bit export). The audio encoder is the real Whisper tiny.en. "
        "The vision tower and both connectors (resampler, audio projection) are seeded and untrained: images and "
        "sounds pass through the whole system, and what the model says of them means nothing."
    ),
    dtype="bfloat16",
    llm=LlmConfig(
        vocab_size=49152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        intermediate_size=1536,
        rms_norm_eps=1e-5,
        rope_theta=100_000.0,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    vision=VisionConfig(
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=768,
        patch_size=14,
        image_size=980,
        layer_norm_eps=1e-6,
    ),
    resampler=ResamplerConfig(num_queries=64, num_attention_heads=9, layer_norm_eps=1e-6),
    slicing=SlicingConfig(max_slices=9, scale_resolution=448),
    audio=AudioConfig(n_mels=80, n_ctx=1500, n_state=384, n_head=6, n_layer=4, avg_pool=True, add_bos_eos=True),
    prompt=_SMOL_PROMPT,
)

_DEMO = _SMOL.model_copy(
    update={
        "model": "demo",
        "note": "SmolLM2-135M-Instruct that sees and hears a little: see the model card, docs/model-card.md.",
        "vision": _SMOL.vision.model_copy(update={"num_hidden_layers": 4}),
        "resampler": _SMOL.resampler.model_copy(update={"num_queries": 8}),
        "slicing": SlicingConfig(max_slices=1, scale_resolution=98),
        # Every token that training says aloud, and a pause.
        "audio": _SMOL.audio.model_copy(update={"codebook_size": 705}),
        "prompt": _SMOL_PROMPT.model_copy(update={"default_system": None}),
    }
)

_MEGREZ = ModelConfig(
    model="megrez-3b-omni",
    note=(
        "Infinigence AI's Megrez-3B-Omni (arXiv 2502.15803). The names of its slice tokens are assumed; "
        "`trichord checkpoint verify` says if the published tokenizer has others."
    ),
    dtype="bfloat16",
    llm=LlmConfig(
        vocab_size=122_880,
        hidden_size=2560,
        num_hidden_layers=32,
        num_attention_heads=40,
        num_key_value_heads=10,
        head_dim=64,
        intermediate_size=7168,
        rms_norm_eps=1e-5,
        rope_theta=5_000_000.0,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    ),
    vision=VisionConfig(
        hidden_size=1152,
        num_hidden_layers=27,
        num_attention_heads=16,
        intermediate_size=4304,
        patch_size=14,
        image_size=980,
        layer_norm_eps=1e-6,
    ),
    resampler=ResamplerConfig(num_queries=64, num_attention_heads=20, layer_norm_eps=1e-6),
    slicing=SlicingConfig(max_slices=9, scale_resolution=448),
    audio=AudioConfig(n_mels=128, n_ctx=1500, n_state=1280, n_head=20, n_layer=32, avg_pool=True, add_bos_eos=True),
    prompt=_MEGREZ_PROMPT,
)

PRESETS: dict[str, ModelConfig] = {config.model: config for config in (_TINY, _SMOL, _DEMO, _MEGREZ)}
"""Config of each preset, by name."""


def preset(name: str) -> ModelConfig:
    """The preset of that name. Raises CheckpointError, listing those there are."""
    if name not in PRESETS:
        raise CheckpointError(f"There is no preset {name!r}. Presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
