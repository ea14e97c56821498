"""The tower against transformers' Whisper and Qwen2-Audio encoders, independent implementations."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2AudioEncoderConfig, WhisperConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from audio_encoder.tower import AudioTower, Codebook
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.model_config import AudioConfig

NAMES = [
    ("blocks.", "layers."),
    ("attn_ln.", "self_attn_layer_norm."),
    ("mlp_ln.", "final_layer_norm."),
    ("attn.query.", "self_attn.q_proj."),
    ("attn.key.", "self_attn.k_proj."),
    ("attn.value.", "self_attn.v_proj."),
    ("attn.out.", "self_attn.out_proj."),
    ("mlp.0.", "fc1."),
    ("mlp.2.", "fc2."),
    ("ln_post.", "layer_norm."),
    ("positional_embedding", "embed_positions.weight"),
]
MakeTower = Callable[[AudioConfig], AudioTower]


def loaded(reference: nn.Module, tower: AudioTower) -> nn.Module:
    state = {}
    for name, value in tower.state_dict().items():
        if not name.startswith(("proj.", "audio_bos_eos_token.")):
            for ours, theirs in NAMES:
                name = name.replace(ours, theirs)
            state[name] = value
    reference.load_state_dict(state, strict=True)
    return reference.eval()


def sizes(config: AudioConfig) -> dict[str, object]:
    return {
        "num_mel_bins": config.n_mels,
        "encoder_layers": config.n_layer,
        "encoder_attention_heads": config.n_head,
        "encoder_ffn_dim": 4 * config.n_state,
        "d_model": config.n_state,
        "max_source_positions": config.n_ctx,
        "attn_implementation": "eager",
    }


def qwen(tower: AudioTower, config: AudioConfig) -> nn.Module:
    return loaded(Qwen2AudioEncoder(Qwen2AudioEncoderConfig(**sizes(config))), tower)


def framed(tower: AudioTower, states: Tensor) -> Tensor:
    """The reference's states [rows, width] through the projection, between the begin and the end row."""
    assert tower.audio_bos_eos_token is not None
    bos, eos = tower.audio_bos_eos_token.weight
    return torch.cat([bos[None], tower.proj(states), eos[None]])


def random_mel(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("n_ctx", [100, 1500])
def test_a_whole_window_equals_qwen2_audio(audio_config: AudioConfig, make_tower: MakeTower, n_ctx: int) -> None:
    config = audio_config.model_copy(update={"n_ctx": n_ctx})
    tower = make_tower(config)
    mel = random_mel(1, config.n_mels, 2 * n_ctx)
    with torch.inference_mode():
        expected = framed(tower, qwen(tower, config)(mel).last_hidden_state[0])
        torch.testing.assert_close(tower(mel)[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", [2, 3, 37, 50, 99])
def test_a_short_window_equals_qwen2_audio_masked(
    audio_config: AudioConfig, make_tower: MakeTower, positions: int
) -> None:
    """The reference always hears a whole window: the rest is zero as past our crop's edge, and masked as keys."""
    tower = make_tower(audio_config)
    mel = random_mel(1, audio_config.n_mels, 2 * positions)
    whole = torch.zeros(1, audio_config.n_mels, 2 * audio_config.n_ctx)
    whole[:, :, : 2 * positions] = mel
    mask = torch.zeros(1, 1, audio_config.n_ctx, audio_config.n_ctx)
    mask[..., positions:] = -torch.inf
    with torch.inference_mode():
        states = qwen(tower, audio_config)(whole, attention_mask=mask).last_hidden_state[0]
        torch.testing.assert_close(tower(mel)[0], framed(tower, states[: positions // 2]), rtol=1e-5, atol=1e-5)


def test_without_pooling_equals_whisper(audio_config: AudioConfig, make_tower: MakeTower) -> None:
    config = audio_config.model_copy(update={"avg_pool": False, "n_ctx": 1500})
    tower = make_tower(config)
    reference = loaded(WhisperEncoder(WhisperConfig(**sizes(config))), tower)
    mel = random_mel(2, config.n_mels, 3000)
    with torch.inference_mode():
        expected = [framed(tower, states) for states in reference(mel).last_hidden_state]
        torch.testing.assert_close(tower(mel), torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_begin_and_end_rows_are_optional(audio_config: AudioConfig, make_tower: MakeTower) -> None:
    bare = make_tower(audio_config.model_copy(update={"add_bos_eos": False}))
    whole = make_tower(audio_config)
    mel = random_mel(1, audio_config.n_mels, 40)
    assert "audio_bos_eos_token.weight" not in bare.state_dict()
    torch.testing.assert_close(bare(mel), whole(mel)[:, 1:-1])


def test_a_codebook_mixes_rows_by_attention_to_learned_keys(audio_config: AudioConfig, make_tower: MakeTower) -> None:
    tower = make_tower(audio_config.model_copy(update={"codebook_size": 9}))
    assert isinstance(tower.proj, Codebook)
    mel = random_mel(1, audio_config.n_mels, 40)
    with torch.inference_mode():
        states = tower.states(mel)
        keys, values = tower.proj.scores.weight, tower.proj.rows.weight.T
        bias = tower.proj.scores.bias.expand(1, states.shape[1], -1)
        expected = scaled_dot_product_attention(states, keys[None], values[None], attn_mask=bias, scale=1.0)
        torch.testing.assert_close(tower(mel)[:, 1:-1], expected)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_state_dict_is_the_checkpoints(name: str) -> None:
    preset = PRESETS[name]
    with torch.device("meta"):
        tower = AudioTower(preset.audio, preset.llm.hidden_size)
    ours = {f"audio.audio.{key}": tuple(value.shape) for key, value in tower.state_dict().items()}
    assert ours == {key: shape for key, shape in tensor_shapes(preset).items() if key.startswith("audio.")}


def test_size_of_the_published_tower() -> None:
    preset = PRESETS["megrez-3b-omni"]
    with torch.device("meta"):
        tower = AudioTower(preset.audio, preset.llm.hidden_size)
    state = tower.state_dict()
    assert len(state) == 10 + 15 * 32
    connector = {name: value.numel() for name, value in state.items() if name.startswith(("proj.", "audio_bos"))}
    assert sum(value.numel() for value in state.values()) - sum(connector.values()) == 636_968_960
    assert connector == {"proj.weight": 2560 * 1280, "proj.bias": 2560, "audio_bos_eos_token.weight": 5_120}
    assert state["conv1.weight"].shape == (1280, 128, 3)
    assert state["conv2.weight"].shape == (1280, 1280, 3)
    assert state["positional_embedding"].shape == (1500, 1280)
    assert state["blocks.31.mlp.0.weight"].shape == (5120, 1280)
    assert state["blocks.31.mlp.2.weight"].shape == (1280, 5120)
    assert "blocks.0.attn.key.bias" not in state
    assert math.prod(state["proj.weight"].shape) + 2560 == 3_279_360
