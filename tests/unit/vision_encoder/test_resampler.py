"""The resampler against a composition of torch's own attention and norms, float32, random weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trichord.checkpoint.presets import PRESETS
from trichord.model_config import ResamplerConfig
from vision_encoder.resampler import Resampler, sincos_2d

VISION, HIDDEN, HEADS, QUERIES = 24, 40, 5, 6
CPU = torch.device("cpu")


def positions_by_hand(height: int, width: int, size: int) -> torch.Tensor:
    """Channel by channel: [sin(col), cos(col), sin(row), cos(row)], a quarter each."""
    quarter = size // 4
    rows = []
    for row in range(height):
        for col in range(width):
            rates = [10_000 ** (-i / quarter) for i in range(quarter)]
            waves = [wave(place * rate) for place in (col, row) for wave in (math.sin, math.cos) for rate in rates]
            rows.append(waves)
    return torch.tensor(rows)


class Composed(nn.Module):
    """The same layer of torch's parts, with padding masked as the published demo does."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(QUERIES, HIDDEN))
        self.kv_proj = nn.Linear(VISION, HIDDEN, bias=False)
        self.attn = nn.MultiheadAttention(HIDDEN, HEADS)
        self.ln_q = nn.LayerNorm(HIDDEN, eps=1e-6)
        self.ln_kv = nn.LayerNorm(HIDDEN, eps=1e-6)
        self.ln_post = nn.LayerNorm(HIDDEN, eps=1e-6)
        self.proj = nn.Parameter(torch.zeros(HIDDEN, HIDDEN))

    def forward(self, states: torch.Tensor, shapes: list[tuple[int, int]]) -> torch.Tensor:
        count, length, _ = states.shape
        values = self.ln_kv(self.kv_proj(states)).transpose(0, 1)
        places = torch.zeros(length, count, HIDDEN)
        padding = torch.ones(count, length, dtype=torch.bool)
        for index, (height, width) in enumerate(shapes):
            places[: height * width, index] = positions_by_hand(height, width, HIDDEN)
            padding[index, : height * width] = False
        queries = self.ln_q(self.query)[:, None].repeat(1, count, 1)
        mixed, _ = self.attn(queries, values + places, values, key_padding_mask=padding)
        return torch.einsum("qnd,de->nqe", self.ln_post(mixed), self.proj)


@pytest.fixture(scope="module")
def composed() -> Composed:
    torch.manual_seed(11)
    module = Composed().eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(0.4 * torch.randn(parameter.shape))
    return module


@pytest.fixture(scope="module")
def resampler(composed: Composed) -> Resampler:
    config = ResamplerConfig(num_queries=QUERIES, num_attention_heads=HEADS, layer_norm_eps=1e-6)
    module = Resampler(config, vision_size=VISION, hidden_size=HIDDEN).eval().requires_grad_(False)
    module.load_state_dict(composed.state_dict(), strict=True)
    return module


# 10 x 101: a side beyond the 70 that the published table starts with.
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 7), (7, 4), (10, 101), (101, 2)])
def test_equals_torchs_own_attention(resampler, composed, height: int, width: int) -> None:
    states = torch.randn(3, height * width, VISION)
    ours = resampler(states, height, width)
    torch.testing.assert_close(ours, composed(states, [(height, width)] * 3), rtol=1e-4, atol=1e-5)


def test_a_tile_alone_equals_it_in_a_padded_masked_batch(resampler, composed) -> None:
    shapes = [(3, 5), (6, 4)]
    states = torch.randn(2, 24, VISION)
    padded = composed(states, shapes)
    for index, (height, width) in enumerate(shapes):
        alone = resampler(states[index : index + 1, : height * width], height, width)
        torch.testing.assert_close(alone[0], padded[index], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (2, 120)])
def test_positions_equal_those_by_hand(height: int, width: int) -> None:
    torch.testing.assert_close(sincos_2d(height, width, 16, CPU), positions_by_hand(height, width, 16))


def test_a_larger_tile_keeps_the_positions_of_a_smaller_one() -> None:
    small, large = sincos_2d(4, 5, 32, CPU).view(4, 5, 32), sincos_2d(90, 80, 32, CPU).view(90, 80, 32)
    assert torch.equal(small, large[:4, :5])


def test_transposing_a_tile_changes_its_rows(resampler) -> None:
    states = torch.randn(1, 12, VISION)
    assert (resampler(states, 3, 4) - resampler(states, 4, 3)).abs().max() > 1e-3


def test_megrez_has_the_published_parameters() -> None:
    config = PRESETS["megrez-3b-omni"]
    with torch.device("meta"):
        resampler = Resampler(config.resampler, vision_size=1152, hidden_size=config.llm.hidden_size)
    assert sum(parameter.numel() for parameter in resampler.parameters()) == 35_906_560
    assert {name: tuple(tensor.shape) for name, tensor in resampler.state_dict().items()} == {
        "query": (64, 2560),
        "kv_proj.weight": (2560, 1152),
        "attn.in_proj_weight": (7680, 2560),
        "attn.in_proj_bias": (7680,),
        "attn.out_proj.weight": (2560, 2560),
        "attn.out_proj.bias": (2560,),
        **{f"{norm}.{leaf}": (2560,) for norm in ("ln_q", "ln_kv", "ln_post") for leaf in ("weight", "bias")},
        "proj": (2560, 2560),
    }
