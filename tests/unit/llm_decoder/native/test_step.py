"""The native step against the torch module in float32 on the same weights."""

from dataclasses import replace

import pytest
import torch

from llm_decoder.native.step import NativeStep
from llm_decoder.sampler import argmax
from tests.unit.llm_decoder.native.driver import (
    CONFIG,
    NUM_BLOCKS,
    Run,
    bf16_llama,
    by_torch,
    in_float32,
    native,
    random_ids,
    used_cache,
)

LENGTHS = (300, 40, 17, 9)
# Prompts in chunks that end anywhere, beside sequences that decode; one context of more than a partition (256).
SCHEDULE = [
    {0: 250, 1: 7},
    {0: 1, 1: 20, 2: 16},
    *[{0: 1, 1: 1, 2: 1}],
    {0: 41, 1: 1, 3: 8},
    {0: 1, 1: 1, 3: 1},
    *[{0: 1, 1: 1}] * 6,
    {1: 4},
]

MODELS = {
    "three queries a key": {},
    "four queries a key": {"num_attention_heads": 8},
    "multi-head": {"num_attention_heads": 2, "num_key_value_heads": 2},
    "multi-query, twelve": {"num_attention_heads": 12, "num_key_value_heads": 1},
    "wide heads": {"head_dim": 64, "num_attention_heads": 3, "num_key_value_heads": 1},
    "widest heads": {"head_dim": 256, "num_attention_heads": 2, "num_key_value_heads": 1},
    "tied": {"tie_word_embeddings": True},
    "narrow": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1},
    "long rope": {"rope_theta": 5_000_000.0},
}


def relative_errors(found, expected):
    return [((ours - theirs).norm() / theirs.norm()).item() for ours, theirs in zip(found, expected, strict=True)]


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("block_size", [16, 32])
def test_equals_the_torch_module(changes, block_size):
    model = bf16_llama(CONFIG.model_copy(update=changes))
    exact, ids = in_float32(model), random_ids(*LENGTHS)
    expected = Run(exact, by_torch(exact, block_size), ids, block_size).logits(SCHEDULE)
    torchs = Run(model, by_torch(model, block_size), ids, block_size).logits(SCHEDULE)

    ours = Run(model, native(model, block_size, threads=2), ids, block_size).logits(SCHEDULE)

    for error, torchs_error in zip(relative_errors(ours, expected), relative_errors(torchs, expected), strict=True):
        assert error < min(0.02, torchs_error), "nearer to float32 than torch in bf16 is"


@pytest.mark.parametrize("changes", [{}, {"head_dim": 64}, {"tie_word_embeddings": True}], ids=str)
def test_int8_weights_are_near(changes):
    model = bf16_llama(CONFIG.model_copy(update=changes))
    exact, ids = in_float32(model), random_ids(*LENGTHS)
    expected = Run(exact, by_torch(exact), ids).logits(SCHEDULE)

    ours = Run(model, native(model, weights="int8"), ids).logits(SCHEDULE)

    assert max(relative_errors(ours, expected)) < 0.06
    assert not torch.equal(ours[0], Run(model, native(model), ids).logits(SCHEDULE)[0]), "int8 was asked for"


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("num_tokens", [1, 9, 120])
def test_the_likeliest_tokens_are_found_on_the_way(num_tokens, threads):
    model, ids = bf16_llama(), random_ids(num_tokens)
    forward = native(model, threads=threads)
    logits = forward(Run(model, forward, ids).step_input([(0, num_tokens)]))
    assert forward.likeliest(logits) == argmax(logits)
    assert num_tokens == 1 or len(set(argmax(logits))) > 1


@pytest.mark.parametrize("sign", [-1, 1])
def test_of_equally_likely_tokens_the_first_is_found_and_none_that_is_padding(sign):
    model, ids = bf16_llama(), random_ids(8)
    model.lm_head.weight.copy_(sign * model.lm_head.weight[:1].expand_as(model.lm_head.weight))
    forward = native(model)
    logits = forward(Run(model, forward, ids).step_input([(0, 8)]))
    assert (logits < 0).any(), "what pads the vocabulary, 0, is higher"
    assert forward.likeliest(logits) == [0] * 8


def test_of_another_step_no_likeliest_tokens_are_told():
    model = bf16_llama()
    run = Run(model, forward := native(model), random_ids(8))
    logits = forward(run.step_input([(0, 5)]))
    forward(run.step_input([(0, 3)]))
    with pytest.raises(AssertionError):
        forward.likeliest(logits)


@pytest.mark.parametrize("rows", [[19], [3, 0, 19], []], ids=str)
def test_only_the_logits_that_are_wanted_are_computed(rows):
    model, ids = bf16_llama(), random_ids(20)
    step = Run(model, native(model), ids).step_input([(0, 20)])
    everything = native(model)(step)
    wanted = replace(step, logit_rows_R=torch.tensor(rows, dtype=torch.int32))
    assert torch.equal(native(model)(wanted), everything[rows])


def test_a_block_can_be_copied():
    model, ids = bf16_llama(), random_ids(17)
    cache = used_cache(model)
    forward = NativeStep(model, cache.keys, cache.values, weights="bf16", threads=1)
    run = Run(model, forward, ids)
    forward(run.step_input([(0, 16)]))
    step = run.step_input([(0, 1)])
    expected = forward(step).clone()
    old, last = step.block_tables_BM[0].tolist()
    new = next(block for block in range(NUM_BLOCKS) if block not in (old, last))

    for cached in (cache.keys, cache.values):
        cached[:, new] = cached[:, old]
        cached[:, old] = torch.nan
    step.block_tables_BM[0, 0] = new

    assert torch.equal(forward(step), expected)
