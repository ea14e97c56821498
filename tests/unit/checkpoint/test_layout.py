"""Names, shapes and counts of tensors, against the report's table and against independent implementations."""

from __future__ import annotations

import pytest
import torch
from transformers import Idefics2VisionConfig, LlamaConfig, LlamaForCausalLM
from transformers.models.idefics2.modeling_idefics2 import Idefics2VisionTransformer
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from tests.unit.checkpoint.whisper_names import hugging_face_config, hugging_face_name
from trichord.checkpoint.layout import is_skipped, num_stored_bytes, parameters_by_part, tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.model_config import ModelConfig

every_preset = pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)


def shapes_under(config: ModelConfig, prefix: str) -> dict[str, tuple[int, ...]]:
    return {n.removeprefix(prefix): shape for n, shape in tensor_shapes(config).items() if n.startswith(prefix)}


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_megrez_has_the_published_number_of_parameters_and_tensors() -> None:
    shapes = tensor_shapes(PRESETS["megrez-3b-omni"])
    assert len(shapes) == 1231
    parts = parameters_by_part(shapes)
    assert parts == {
        "token embedding": 314_572_800,
        "language model": 2_286_062_080,
        "output layer": 314_572_800,
        "vision tower": 417_792_240,
        "resampler": 35_906_560,
        "audio encoder": 636_968_960,
        "audio projection": 3_279_360 + 5_120,
    }
    assert sum(parts.values()) == 4_009_159_920
    assert num_stored_bytes(PRESETS["megrez-3b-omni"]) == 2 * 4_009_159_920


@every_preset
def test_llm_is_an_independent_llama(config: ModelConfig) -> None:
    llm = config.llm
    with torch.device("meta"):
        reference = shapes_of(LlamaForCausalLM(LlamaConfig(**llm.model_dump())))
    if llm.tie_word_embeddings:
        del reference["lm_head.weight"]
    assert shapes_under(config, "llm.") == reference


@every_preset
def test_vision_tower_is_an_independent_siglip(config: ModelConfig) -> None:
    vision = config.vision
    with torch.device("meta"):
        reference = Idefics2VisionTransformer(
            Idefics2VisionConfig(
                hidden_size=vision.hidden_size,
                intermediate_size=vision.intermediate_size,
                num_hidden_layers=vision.num_hidden_layers,
                num_attention_heads=vision.num_attention_heads,
                image_size=vision.image_size,
                patch_size=vision.patch_size,
            )
        )
    assert shapes_under(config, "vision.vpm.") == shapes_of(reference)


@every_preset
def test_audio_tower_is_an_independent_whisper_encoder_and_a_projection(config: ModelConfig) -> None:
    audio, width = config.audio, config.llm.hidden_size
    with torch.device("meta"):
        reference = WhisperEncoder(hugging_face_config(audio))
    ours = shapes_under(config, "audio.audio.")
    connector = {"proj.weight": (width, audio.n_state), "proj.bias": (width,)}
    if rows := audio.codebook_size:
        connector = {"scores.weight": (rows, audio.n_state), "scores.bias": (rows,), "rows.weight": (width, rows)}
        connector = {f"proj.{name}": shape for name, shape in connector.items()}
    connector["audio_bos_eos_token.weight"] = (2, width)
    assert {name: ours.pop(name) for name in connector} == connector
    assert {hugging_face_name(name): shape for name, shape in ours.items()} == shapes_of(reference)


@every_preset
def test_resampler_is_one_multihead_attention_between_norms(config: ModelConfig) -> None:
    width, queries = config.llm.hidden_size, config.resampler.num_queries
    with torch.device("meta"):
        attention = torch.nn.MultiheadAttention(width, config.resampler.num_attention_heads)
    expected = {f"attn.{name}": shape for name, shape in shapes_of(attention).items()}
    expected |= {f"{norm}.{leaf}": (width,) for norm in ("ln_q", "ln_kv", "ln_post") for leaf in ("weight", "bias")}
    expected |= {
        "query": (queries, width),
        "proj": (width, width),
        "kv_proj.weight": (width, config.vision.hidden_size),
    }
    assert shapes_under(config, "vision.resampler.") == expected


def test_begin_and_end_rows_are_stored_only_if_the_tower_adds_them() -> None:
    tiny = PRESETS["tiny"]
    without = tiny.model_copy(update={"audio": tiny.audio.model_copy(update={"add_bos_eos": False})})
    assert tensor_shapes(tiny).keys() - tensor_shapes(without).keys() == {"audio.audio.audio_bos_eos_token.weight"}


@pytest.mark.parametrize("leaf", ["inv_freq", "cos_cached", "sin_cached"])
def test_rotary_tables_may_be_stored_and_are_skipped(leaf: str) -> None:
    assert is_skipped(f"llm.model.layers.0.self_attn.rotary_emb.{leaf}")
    assert not any(is_skipped(name) for name in tensor_shapes(PRESETS["tiny"]))
