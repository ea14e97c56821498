"""The GGUF reader, on a LLaMA written by the gguf package itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.checkpoint import ctranslate2_writer
from tests.unit.checkpoint.gguf_writer import LLM, random_tensors, shapes, write
from trichord.checkpoint.gguf_llama import GgufLlama
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.progress import ignore
from trichord.checkpoint.smol import convert
from trichord.checkpoint.trained import Trained
from trichord.errors import CheckpointError
from trichord.model_config import LlmConfig


def rotate_pairs(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotary embedding of [heads, head_dim] over neighbours, as GGUF's rows want it."""
    even, odd = x[:, 0::2], x[:, 1::2]
    rotated = np.stack([even * np.cos(angles) - odd * np.sin(angles), even * np.sin(angles) + odd * np.cos(angles)], -1)
    return rotated.reshape(x.shape)


def rotate_halves(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotary embedding of [heads, head_dim] over halves, as Hugging Face's LLaMA does."""
    first, second = np.split(x, 2, axis=1)
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1)


def test_every_tensor_has_our_name_and_shape(tmp_path: Path) -> None:
    tensors = GgufLlama(write(tmp_path / "a.gguf", random_tensors())).tensors(LLM)
    assert {name: read().shape for name, read in tensors.items()} == shapes()


def test_only_query_and_key_rows_are_reordered(tmp_path: Path) -> None:
    written = random_tensors()
    tensors = GgufLlama(write(tmp_path / "a.gguf", written)).tensors(LLM)
    layer = "llm.model.layers.0"
    np.testing.assert_array_equal(tensors[f"{layer}.self_attn.v_proj.weight"](), written["blk.0.attn_v.weight"])
    np.testing.assert_array_equal(tensors[f"{layer}.mlp.down_proj.weight"](), written["blk.0.ffn_down.weight"])
    np.testing.assert_array_equal(tensors["llm.model.embed_tokens.weight"](), written["token_embd.weight"])


def test_attention_scores_are_the_same_in_both_rotary_conventions(tmp_path: Path) -> None:
    written = random_tensors()
    tensors = GgufLlama(write(tmp_path / "a.gguf", written)).tensors(LLM)
    x = np.random.default_rng(1).standard_normal((2, LLM.hidden_size))
    frequencies = LLM.rope_theta ** -(np.arange(0, LLM.head_dim, 2) / LLM.head_dim)

    def scores(config: LlmConfig, query: np.ndarray, key: np.ndarray, rotate: object) -> np.ndarray:
        q = rotate((query @ x[0]).reshape(config.num_attention_heads, -1), 5 * frequencies)  # type: ignore[operator]
        k = rotate((key @ x[1]).reshape(config.num_key_value_heads, -1), 2 * frequencies)  # type: ignore[operator]
        return np.asarray((q * np.repeat(k, 2, axis=0)).sum(1))

    theirs = scores(LLM, written["blk.0.attn_q.weight"], written["blk.0.attn_k.weight"], rotate_pairs)
    attention = "llm.model.layers.0.self_attn"
    ours = scores(LLM, tensors[f"{attention}.q_proj.weight"](), tensors[f"{attention}.k_proj.weight"](), rotate_halves)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_four_bit_blocks_are_dequantized(tmp_path: Path) -> None:
    written = random_tensors()
    name = "blk.0.ffn_up.weight"
    read = GgufLlama(write(tmp_path / "a.gguf", written, quantized=name)).tensors(LLM)[
        "llm.model.layers.0.mlp.up_proj.weight"
    ]
    blocks = written[name].reshape(-1, 32)
    steps = (blocks.max(1, keepdims=True) - blocks.min(1, keepdims=True)) / 15
    assert (np.abs(read().reshape(-1, 32) - blocks) <= 0.51 * steps).all()


def test_the_tokenizer_is_the_metadatas(tmp_path: Path) -> None:
    tokenizer = GgufLlama(write(tmp_path / "a.gguf", random_tensors())).tokenizer()
    assert tokenizer.encode("<s>ab12").tokens == ["<s>", "ab", "1", "2"]
    assert [token.content for token in tokenizer.get_added_tokens_decoder().values()] == ["<s>"]


def test_other_tensors_and_other_files_are_refused(tmp_path: Path) -> None:
    odd = write(tmp_path / "odd.gguf", {"rope_freqs.bias": np.ones(4, np.float32)})
    with pytest.raises(CheckpointError, match=r"rope_freqs\.bias"):
        GgufLlama(odd).tensors(LLM)
    (tmp_path / "not.gguf").write_bytes(bytes(64))
    with pytest.raises(CheckpointError, match=r"not\.gguf is not a GGUF file"):
        GgufLlama(tmp_path / "not.gguf")


def test_files_of_another_model_are_not_filled_up_with_random_weights(tmp_path: Path) -> None:
    llama = write(tmp_path / "a.gguf", random_tensors())
    whisper = ctranslate2_writer.write(tmp_path, ctranslate2_writer.model(ctranslate2_writer.one_layer()))
    with pytest.raises(CheckpointError, match=r"the preset smol differ in audio\.audio\.blocks\.1") as caught:
        convert(PRESETS["smol"], llama, whisper, Trained(), tmp_path, ignore)
    assert caught.value.tensor == "audio.audio.blocks.1.attn.key.weight"
