"""A token's logits are the same to the bit, whatever else is in the step and however its sequence came there."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.llm_decoder.native.driver import CONFIG, Run, bf16_llama, native, random_ids

LENGTHS = (290, 61, 33, 18, 14, 6, 5, 3, 1)
MODEL = bf16_llama(CONFIG.model_copy(update={"num_hidden_layers": 2}))
IDS = random_ids(*LENGTHS)
WHOLE = [{sequence: length} for sequence, length in enumerate(LENGTHS)]
FORMATS = pytest.mark.parametrize("weights", ["bf16", "int8"])


@st.composite
def schedules(draw):
    """Steps that compute all tokens of all sequences, in chunks of any size, beside any others."""
    left, steps = dict(enumerate(LENGTHS)), []
    while left:
        chosen = draw(st.lists(st.sampled_from(sorted(left)), min_size=1, unique=True))
        sizes = {at: draw(st.sampled_from([1, 2, 15, 16, 17, 100, 1000])) for at in chosen}
        steps.append({at: min(size, left[at]) for at, size in sizes.items()})
        left = {at: count - steps[-1].get(at, 0) for at, count in left.items() if count > steps[-1].get(at, 0)}
    return steps


@pytest.fixture(scope="module")
def expected():
    """Logits of each sequence alone and at once."""
    return {weights: run(WHOLE, weights=weights) for weights in ("bf16", "int8")}


def run(schedule, **how):
    block_size = how.get("block_size", 16)
    return Run(MODEL, native(MODEL, **how), IDS, block_size).logits(schedule)


def all_equal(found, expected):
    return all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@FORMATS
@settings(max_examples=40, deadline=None)
@given(schedule=schedules())
def test_company_and_cuts_do_not_matter(schedule, weights, expected):
    assert all_equal(run(schedule, weights=weights), expected[weights])


@FORMATS
def test_decoding_from_the_first_token_on_equals_one_prompt(weights, expected):
    one_by_one = [{at: 1 for at, length in enumerate(LENGTHS) if step < length} for step in range(max(LENGTHS))]
    assert all_equal(run(one_by_one, weights=weights), expected[weights])


@FORMATS
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_do_not_matter(threads, weights, expected):
    assert all_equal(run(WHOLE, weights=weights, threads=threads), expected[weights])


def test_the_block_size_does_not_matter(expected):
    assert all_equal(run(WHOLE, block_size=64), expected["bf16"])
