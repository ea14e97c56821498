"""What a native step does not compute: it says so before it touches memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llm_decoder.native.step import NativeStep
from tests.unit.llm_decoder.native.driver import (
    CONFIG,
    NUM_BLOCKS,
    Run,
    bf16_llama,
    in_float32,
    native,
    random_ids,
    used_cache,
)
from trichord.errors import FeatureOffError

MODEL = bf16_llama()
NUM_SLOTS = NUM_BLOCKS * 16


def given_step():
    """Two sequences of 20 and 3 tokens."""
    return Run(MODEL, native(MODEL), random_ids(20, 3)).step_input([(0, 20), (1, 3)])


@pytest.mark.parametrize(
    ("name", "at", "value", "reason"),
    [
        ("slots_N", 22, NUM_SLOTS, "a slot is outside the cache"),
        ("slots_N", 0, -1, "a slot is outside the cache"),
        ("positions_N", 22, NUM_SLOTS, "a position is outside the context"),
        ("positions_N", 5, -1, "a position is outside the context"),
        ("block_tables_BM", 0, NUM_BLOCKS, "a block is outside the cache"),
        ("block_tables_BM", 1, -1, "a block is outside the cache"),
        ("context_lens_B", 0, 19, "a context is shorter than its own new tokens"),
        ("context_lens_B", 0, 33, "a context is longer than its block table"),
        ("context_lens_B", 1, 2**31 - 1, "a context is longer than its block table"),
        ("query_starts", 0, 1, "query_starts must rise"),
        ("query_starts", 1, 0, "query_starts must rise"),
        ("query_starts", 1, 24, "a context is shorter than its own new tokens"),
        ("query_starts", 2, 22, "query_starts must rise"),
        ("logit_rows_R", 0, 23, "a logit row is not one of the tokens"),
        ("logit_rows_R", 22, -1, "a logit row is not one of the tokens"),
    ],
)
def test_an_index_outside_its_bounds_is_refused(name, at, value, reason):
    step, cache = given_step(), used_cache(MODEL)
    cache.keys.zero_()
    getattr(step, name).view(-1)[at] = value
    with pytest.raises(ValueError, match=reason):
        NativeStep(MODEL, cache.keys, cache.values, weights="bf16", threads=1)(step)
    assert not cache.keys.any(), "nothing was written"


def test_a_block_past_a_context_is_not_looked_at():
    step = given_step()
    step.block_tables_BM[1, 1] = -7
    assert native(MODEL)(step).isfinite().all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("x_ND", lambda x: x.float()),
        ("x_ND", lambda x: x[:, :-32]),
        ("x_ND", lambda x: x.t().contiguous().t()),
        ("slots_N", lambda slots: slots[:-1]),
        ("slots_N", lambda slots: slots.long()),
        ("positions_N", lambda positions: positions[:, None]),
        ("query_starts", lambda starts: starts[:-1]),
        ("block_tables_BM", lambda tables: tables.view(-1)),
    ],
)
def test_a_tensor_of_another_kind_is_refused(name, change):
    step = given_step()
    with pytest.raises(ValueError, match="is needed"):
        native(MODEL)(replace(step, **{name: change(getattr(step, name))}))


@pytest.mark.parametrize(
    ("changes", "block_size", "reason"),
    [
        ({}, 24, "block size"),
        ({"hidden_size": 48}, 16, "hidden_size"),
        ({"intermediate_size": 100}, 16, "intermediate_size"),
        ({"head_dim": 48}, 16, "head_dim"),
        ({"head_dim": 288}, 16, "at most 256"),
        ({"num_attention_heads": 13, "num_key_value_heads": 1}, 16, "at most 12 query heads"),
    ],
)
def test_a_model_that_is_not_supported_is_told_why(changes, block_size, reason):
    model = bf16_llama(CONFIG.model_copy(update=changes))
    assert reason in NativeStep.is_supported(model, block_size)
    with pytest.raises(FeatureOffError, match=reason):
        native(model, block_size)


def test_float32_is_not_supported():
    assert "float32" in NativeStep.is_supported(in_float32(MODEL), 16)


def test_a_cache_of_another_kind_is_refused():
    cache = used_cache(MODEL)
    with pytest.raises(ValueError, match="is needed"):
        NativeStep(MODEL, cache.keys, cache.values[:, 1:], weights="bf16", threads=1)
    with pytest.raises(ValueError, match="is needed"):
        NativeStep(MODEL, cache.keys.float(), cache.values.float(), weights="bf16", threads=1)
