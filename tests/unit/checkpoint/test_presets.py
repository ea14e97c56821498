"""Presets are complete and consistent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trichord.checkpoint.layout import num_stored_bytes
from trichord.checkpoint.presets import PRESETS, preset
from trichord.errors import CheckpointError
from trichord.model_config import CONFIG_FILE, ModelConfig

every_preset = pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)


@every_preset
def test_a_preset_survives_its_file(config: ModelConfig, tmp_path: Path) -> None:
    config.write(tmp_path)
    assert ModelConfig.read(tmp_path) == config


@every_preset
def test_widths_divide_into_heads_and_the_position_tables_channels(config: ModelConfig) -> None:
    assert config.llm.num_attention_heads * config.llm.head_dim == config.llm.hidden_size
    assert config.vision.hidden_size % config.vision.num_attention_heads == 0
    assert config.audio.n_state % config.audio.n_head == 0
    assert config.llm.hidden_size % (4 * config.resampler.num_attention_heads) == 0
    assert config.vision.positions_per_side == 70


@every_preset
def test_the_turn_has_role_and_content_once_and_media_tokens_differ(config: ModelConfig) -> None:
    prompt = config.prompt
    assert [prompt.turn.count(piece) for piece in ("{role}", "{content}")] == [1, 1]
    media = [prompt.image_start, prompt.image_end, prompt.slice_start, prompt.slice_end, prompt.audio_start]
    assert len({*media, prompt.audio_end, prompt.placeholder}) == 7
    assert not {*media, prompt.placeholder} & {*prompt.stop_tokens}


def test_the_reference_model_is_the_reports() -> None:
    """Facts of arXiv 2502.15803, Tables 1-2, that no shape shows."""
    megrez = PRESETS["megrez-3b-omni"]
    assert (megrez.llm.num_attention_heads, megrez.llm.num_key_value_heads) == (40, 10)
    assert (megrez.llm.rope_theta, megrez.llm.rms_norm_eps) == (5_000_000.0, 1e-5)
    assert (megrez.llm.max_position_embeddings, megrez.llm.tie_word_embeddings) == (4096, False)
    assert (megrez.resampler.num_attention_heads, megrez.resampler.num_queries) == (20, 64)
    assert (megrez.slicing.max_slices, megrez.slicing.scale_resolution) == (9, 448)
    assert (megrez.audio.avg_pool, megrez.audio.add_bos_eos) == (True, True)
    assert megrez.prompt.stop_tokens == ["<|turn_end|>", "<|eos|>", "<|turn_end>"]


def test_tiny_is_small_and_smol_says_what_is_untrained() -> None:
    assert num_stored_bytes(PRESETS["tiny"]) < 2_000_000
    assert "untrained" in PRESETS["smol"].note


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(CheckpointError, match="tiny, smol, demo, megrez-3b-omni"):
        preset("gpt")


def test_a_config_that_asks_to_load_code_is_refused(tiny: Path) -> None:
    """CVE-2026-22807: ``auto_map`` names a Python file to import."""
    config = json.loads((tiny / CONFIG_FILE).read_text())
    config["auto_map"] = {"AutoModel": "modeling_evil.Evil"}
    (tiny / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="auto_map"):
        ModelConfig.read(tiny)


@pytest.mark.parametrize("content", [b"", b"[]", b"\x80\x04]", b"[" * 100_000, b"{}", b" " * (1 << 21)])
def test_a_config_that_is_none_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CONFIG_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        ModelConfig.read(tmp_path)
