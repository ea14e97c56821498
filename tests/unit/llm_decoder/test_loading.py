"""Settings that contradict each other are told by their names."""

import pytest
import torch

from llm_decoder.loading import EngineSettings, new_scheduler
from tests.fakes import LLM
from trichord.errors import SettingsError


def test_a_step_holds_every_running_sequence_and_a_prompt():
    with pytest.raises(SettingsError, match="STEP_TOKENS must be more than TRICHORD_ENGINE_MAX_RUNNING"):
        new_scheduler(LLM, torch.float32, EngineSettings(max_running=8, step_tokens=8))


def test_memory_becomes_blocks():
    settings = EngineSettings(kv_cache_bytes=1 << 20, block_size=16)
    # Keys and values of 2 layers, 2 heads of 8, in 4 bytes: 256 bytes a position.
    assert new_scheduler(LLM, torch.float32, settings).blocks.num_blocks == (1 << 20) // (256 * 16)
