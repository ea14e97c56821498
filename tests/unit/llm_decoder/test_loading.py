"""Settings that contradict each other are told by their names."""

import pytest
import torch

from llm_decoder.loading import EngineSettings, load_engine, new_scheduler
from llm_decoder.native.step import NativeStep
from tests.fakes import LLM, CollectingSink, request
from trichord.checkpoint.presets import PRESETS
from trichord.errors import SettingsError
from trichord.settings import ModelSettings


def test_a_step_holds_every_running_sequence_and_a_prompt():
    with pytest.raises(SettingsError, match="STEP_TOKENS must be more than TRICHORD_ENGINE_MAX_RUNNING"):
        new_scheduler(LLM, torch.float32, EngineSettings(max_running=8, step_tokens=8))


def test_memory_becomes_blocks():
    settings = EngineSettings(kv_cache_bytes=1 << 20, block_size=16)
    # Keys and values of 2 layers, 2 heads of 8, in 4 bytes: 256 bytes a position.
    assert new_scheduler(LLM, torch.float32, settings).blocks.num_blocks == (1 << 20) // (256 * 16)


def test_int8_keys_and_values_take_their_scales_along():
    settings = EngineSettings(kv_cache_bytes=1 << 20, block_size=16, kv_dtype="int8")
    # Keys and values of 2 layers, 2 heads: 8 numbers and a scale of 4 bytes each, 96 bytes a position.
    assert new_scheduler(LLM, torch.bfloat16, settings).blocks.num_blocks == (1 << 20) // (96 * 16)


def test_int8_holds_almost_twice_the_positions_of_the_published_model():
    llm = PRESETS["megrez-3b-omni"].llm
    own, int8 = (
        new_scheduler(llm, torch.bfloat16, EngineSettings(kv_cache_bytes=1 << 34, kv_dtype=kv_dtype)).blocks.num_blocks
        for kv_dtype in ("own", "int8")
    )
    assert int8 / own == pytest.approx(128 / 68, rel=1e-3)


def test_an_engine_keeps_int8_where_torch_computes(tiny):
    engine = load_engine(ModelSettings(checkpoint=tiny, dtype="float32"), EngineSettings(kv_dtype="int8"))
    sink = CollectingSink()
    engine.submit(request([1, 2, 3], sink, max_tokens=8))
    assert sink.done.wait(60)
    engine.close()
    assert sink.failure is None
    assert len(sink.token_ids) == 8


def test_the_native_step_refuses_int8_keys_and_values_and_says_what_to_do(tiny, monkeypatch):
    monkeypatch.setattr(NativeStep, "is_supported", lambda *_: None)
    with pytest.raises(SettingsError, match="Leave TRICHORD_ENGINE_KV_DTYPE unset"):
        load_engine(ModelSettings(checkpoint=tiny), EngineSettings(kv_dtype="int8"))
