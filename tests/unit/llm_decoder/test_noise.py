"""Noise as a function of seed, position and token: its distribution, and that nothing else enters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.noise import gumbel

EULER = 0.5772156649


def test_its_moments_are_gumbels():
    values = gumbel([(seed, 0) for seed in range(20)], 50_000, "cpu").double()
    assert values.mean().item() == pytest.approx(EULER, abs=0.01)
    assert values.std().item() == pytest.approx(torch.pi / 6**0.5, abs=0.01)
    assert values.isfinite().all()


def test_its_distribution_is_gumbels():
    uniform = torch.exp(-torch.exp(-gumbel([(3, 9)], 200_000, "cpu").double())).flatten().sort().values
    expected = (torch.arange(len(uniform)) + 0.5) / len(uniform)
    assert (uniform - expected).abs().max() < 0.005  # Kolmogorov-Smirnov: 0.004 is exceeded once in 1 000


@settings(max_examples=50)
@given(draws=st.lists(st.tuples(st.integers(0, (1 << 63) - 1), st.integers(0, 4096)), min_size=1, max_size=6))
def test_a_draw_does_not_depend_on_the_others(draws):
    together = gumbel(draws, 97, "cpu")
    for draw, row in zip(draws, together, strict=True):
        assert torch.equal(gumbel([draw], 97, "cpu")[0], row)


def test_neighbouring_seeds_positions_and_tokens_are_uncorrelated():
    draws = [(seed, position) for seed in range(30) for position in range(30)]
    values = gumbel(draws, 2_000, "cpu").double()
    correlations = torch.corrcoef(values) - torch.eye(len(draws))
    assert correlations.abs().max() < 0.15  # 400 000 pairs of 2 000: six standard deviations
    shifted = torch.corrcoef(torch.stack((values[:, :-1].flatten(), values[:, 1:].flatten())))
    assert shifted[0, 1].abs() < 0.01
