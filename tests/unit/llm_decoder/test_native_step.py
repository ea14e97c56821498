"""The native step against the torch module on the same weights, and to the bit against itself."""

import pytest
import torch

from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.native.step import NativeStep
from llm_decoder.step_input import StepInput
from tests.fakes import LLM, random_llama

BLOCK = 16
SIZES = {"hidden_size": 64, "head_dim": 32, "intermediate_size": 96, "vocab_size": 100, "max_position_embeddings": 256}


def half_llama(**changes):
    """Weights of a trained model's spread, bfloat16."""
    model = random_llama(LLM.model_copy(update={**SIZES, **changes}))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.mul_(0.4)
    return model.to(torch.bfloat16)


def full_of(half):
    """The same weights in float32."""
    full = random_llama(half.config)
    full.load_state_dict({name: value.float() for name, value in half.state_dict().items()})
    return full


if reason := NativeStep.is_supported(half_llama(), BLOCK):
    pytest.skip(reason, allow_module_level=True)


def native(half, num_blocks=24, weights="bf16", threads=1):
    cache = KvCache(half.config, num_blocks, BLOCK, torch.bfloat16, "cpu")
    return NativeStep(half, cache.keys, cache.values, weights=weights, threads=threads)


def step_of(model, chunks):
    """A step over (ids, start, block table) of each sequence, with the logits of every new token."""
    ids = torch.cat([ids for ids, _, _ in chunks])
    spans = [(range(start, start + len(ids)), table) for ids, start, table in chunks]
    widest = max(len(table) for _, table in spans)

    def int32(values):
        return torch.tensor(values, dtype=torch.int32)

    return StepInput(
        x_ND=model.embed(ids),
        positions_N=int32([p for positions, _ in spans for p in positions]),
        slots_N=int32([table[p // BLOCK] * BLOCK + p % BLOCK for positions, table in spans for p in positions]),
        query_starts=int32([0, *(len(ids) for ids, _, _ in chunks)]).cumsum(0).int(),
        context_lens_B=int32([positions.stop for positions, _ in spans]),
        block_tables_BM=int32([(table + [0] * widest)[:widest] for _, table in spans]),
        logit_rows_R=int32(list(range(len(ids)))),
    )


def random_ids(config, count, seed):
    return torch.randint(0, config.vocab_size, (count,), generator=torch.Generator().manual_seed(seed))


def conversation(forward, model):
    """Two prompts, one in chunks and across blocks; then both decode beside a third prompt: all logits."""
    first, second, third = (random_ids(model.config, n, seed) for seed, n in enumerate((40, 18, 21)))
    tables = [[7, 2, 11], [5, 0], [3, 9]]
    steps = [
        [(first[:17], 0, tables[0]), (second[:17], 0, tables[1])],
        [(first[17:39], 17, tables[0])],
        [(second[17:], 17, tables[1]), (first[39:], 39, tables[0]), (third, 0, tables[2])],
    ]
    return torch.cat([forward(step_of(model, step)).clone() for step in steps])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="grouped"),
        pytest.param({"num_attention_heads": 6, "num_key_value_heads": 2}, id="three queries a key"),
        pytest.param({"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64}, id="multi-head"),
        pytest.param({"tie_word_embeddings": True}, id="tied"),
    ],
)
def test_equals_the_torch_module(changes):
    half = half_llama(**changes)
    full = full_of(half)
    expected = conversation(TorchForward(full, KvCache(full.config, 24, BLOCK, torch.float32, "cpu")), full)
    torch_half = conversation(TorchForward(half, KvCache(half.config, 24, BLOCK, torch.bfloat16, "cpu")), half)

    ours = conversation(native(half), half)

    error, torchs_error = ((logits - expected).abs().max() for logits in (ours, torch_half))
    assert error < 0.05 * expected.std(), "bfloat16 rounding and no more"
    assert error < 1.5 * torchs_error


def test_int8_weights_are_near():
    half = half_llama()
    exact, near = conversation(native(half), half), conversation(native(half, weights="int8"), half)
    assert (near - exact).abs().max() < 0.2 * exact.std()
    assert not torch.equal(near, exact)


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_a_token_does_not_depend_on_company_cuts_or_threads(weights):
    half = half_llama()
    ids = random_ids(half.config, 50, 9)
    table = [4, 1, 8, 6]

    alone = native(half, weights=weights)(step_of(half, [(ids, 0, table)]))[-1].clone()

    in_company = native(half, weights=weights, threads=2)
    for start, stop in ((0, 3), (3, 20), (20, 49)):
        in_company(step_of(half, [(ids[start:stop], start, table)]))
    others = [(random_ids(half.config, 1, i), 0, [10 + i]) for i in range(8)]
    logits = in_company(step_of(half, [(ids[49:], 49, table), *others]))
    assert torch.equal(logits[0], alone)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slots_N", 24 * BLOCK),
        ("slots_N", -1),
        ("positions_N", 256),
        ("positions_N", -1),
        ("block_tables_BM", 24),
        ("block_tables_BM", -1),
        ("context_lens_B", 10_000),
        ("context_lens_B", 0),
        ("query_starts", 99),
        ("logit_rows_R", 3),
        ("logit_rows_R", -1),
    ],
)
def test_an_index_out_of_bounds_is_refused_before_memory_is_touched(name, value):
    half = half_llama()
    step = step_of(half, [(random_ids(half.config, 3, 1), 0, [2])])
    getattr(step, name).view(-1)[-1] = value
    with pytest.raises(ValueError, match="refused"):
        native(half)(step)


def test_what_is_not_supported_is_said():
    assert "float32" in NativeStep.is_supported(full_of(half_llama()), BLOCK)
    assert "block size" in NativeStep.is_supported(half_llama(), 8)
    assert "head_dim" in NativeStep.is_supported(half_llama(head_dim=24), BLOCK)
