"""Rows of a cache as int8: never further off than half a scale, each by itself, and read from where they were put."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.kv_cache import KvCache
from llm_decoder.paged_rows import PagedRows, quantised
from tests.fakes import LLM
from tests.unit.llm_decoder.gpu.steps import tensors_of

BLOCKS, HEADS, BLOCK, WIDTH = 5, 2, 4, 8

rows = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.just(HEADS), st.just(WIDTH)),
    elements=st.floats(-1e4, 1e4, width=32) | st.floats(-(2.0**-20), 2.0**-20, width=32) | st.just(0.0),
)


@settings(max_examples=300)
@given(x=rows.map(torch.from_numpy))
def test_no_value_is_off_by_more_than_half_a_scale(x):
    numbers, scales = quantised(x)
    assert numbers.dtype == torch.int8
    assert int(numbers.abs().max()) <= 127
    exact = x.double() - numbers.double() * scales.double()[..., None]
    assert (exact.abs() <= scales.double()[..., None] * (0.5 + 1e-4)).all()


@settings(max_examples=100)
@given(x=rows.map(torch.from_numpy))
def test_the_largest_of_a_row_is_kept_and_zeros_stay_zeros(x):
    numbers, scales = quantised(x)
    largest = x.abs().amax(dim=-1)
    torch.testing.assert_close((numbers.float() * scales[..., None]).abs().amax(dim=-1), largest, rtol=1e-5, atol=1e-30)
    assert (numbers[x == 0] == 0).all()


@settings(max_examples=100)
@given(x=rows.map(torch.from_numpy))
def test_a_row_is_the_same_alone_and_in_company(x):
    together = quantised(x)
    for token in range(len(x)):
        for head in range(HEADS):
            alone = quantised(x[token : token + 1, head : head + 1])
            assert torch.equal(alone[0][0, 0], together[0][token, head])
            assert torch.equal(alone[1][0, 0], together[1][token, head])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_put_is_gathered(dtype):
    cached = PagedRows(torch.zeros(BLOCKS, HEADS, BLOCK, WIDTH, dtype=torch.int8), torch.zeros(BLOCKS, HEADS, BLOCK))
    x = torch.randn(3, HEADS, WIDTH, generator=torch.Generator().manual_seed(0)).to(dtype)
    cached.put(torch.tensor([4, 4, 1]), torch.tensor([0, 3, 2]), x)

    read = cached.gather(torch.tensor([[1, 4]]), dtype)

    assert read.dtype == dtype
    assert read.shape == (1, HEADS, 2 * BLOCK, WIDTH)
    places = [BLOCK, BLOCK + 3, 2]
    torch.testing.assert_close(read[0, :, places].transpose(0, 1), x, rtol=0, atol=3.0 / 127)
    assert not read[0, :, [at for at in range(2 * BLOCK) if at not in places]].any()
    assert not cached.rows_PKSd[[0, 2, 3]].any(), "other blocks stay as they are"
    assert not cached.scales_PKS[[0, 2, 3]].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_a_cache_takes_as_many_bytes_as_it_says(dtype):
    cache = KvCache(LLM, 3, BLOCK, dtype, "cpu")
    assert sum(tensor.nbytes for tensor in tensors_of(cache)) == 3 * BLOCK * KvCache.bytes_per_token(LLM, dtype)
    for cached, tensor in zip(cache.layer(1), (cache.keys, cache.values), strict=True):
        assert cached.rows_PKSd.data_ptr() == tensor[1].data_ptr()
