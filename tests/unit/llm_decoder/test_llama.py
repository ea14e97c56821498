"""LLaMA against an independent implementation (transformers), float32, random weights."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.step_input import StepInput
from tests.fakes import LLM, random_llama

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def reference(config, model):
    theirs = LlamaForCausalLM(LlamaConfig(**config.model_dump())).eval()
    missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])
    return theirs


BLOCK = 4


def step_of(model, chunks):
    """A step over (ids, start, block table) of each sequence, with the logits of every new token."""
    ids = torch.cat([ids for ids, _, _ in chunks])
    spans = [(range(start, start + len(ids)), table) for ids, start, table in chunks]
    starts = torch.tensor([0, *(len(ids) for ids, _, _ in chunks)]).cumsum(0)
    widest = max(-(-positions.stop // BLOCK) for positions, _ in spans)
    return StepInput(
        x_ND=model.embed(ids),
        positions_N=torch.tensor([p for positions, _ in spans for p in positions], dtype=torch.int32),
        slots_N=torch.tensor([t[p // BLOCK] * BLOCK + p % BLOCK for r, t in spans for p in r], dtype=torch.int32),
        query_starts=starts.int(),
        context_lens_B=torch.tensor([positions.stop for positions, _ in spans], dtype=torch.int32),
        block_tables_BM=torch.tensor([(t + [0] * widest)[:widest] for _, t in spans], dtype=torch.int32),
        logit_rows_R=torch.arange(len(ids), dtype=torch.int32),
    )


def logits_in_chunks(model, ids, cuts):
    """Logits of every position, the sequence computed chunk by chunk in scattered blocks."""
    table = torch.randperm(-(-len(ids) // BLOCK), generator=torch.Generator().manual_seed(9)).tolist()
    forward = TorchForward(model, KvCache(model.config, len(table), BLOCK, torch.float32, "cpu"))
    edges = zip([0, *cuts], [*cuts, len(ids)], strict=True)
    return torch.cat([forward(step_of(model, [(ids[start:stop], start, table)])) for start, stop in edges])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="grouped"),
        pytest.param({"num_key_value_heads": 4}, id="multi-head"),
        pytest.param({"num_key_value_heads": 1}, id="multi-query"),
        pytest.param({"tie_word_embeddings": True}, id="tied"),
        pytest.param({"rope_theta": 5_000_000.0, "head_dim": 16}, id="long rope, wide heads"),
    ],
)
@pytest.mark.parametrize(
    "cuts", [[], [7], [1, 2, 3, 20], list(range(1, 40))], ids=["whole", "two", "mixed", "one by one"]
)
def test_equals_the_independent_implementation(changes, cuts):
    config = LLM.model_copy(update=changes)
    model = random_llama(config)
    ids = torch.randint(0, config.vocab_size, (40,), generator=torch.Generator().manual_seed(1))

    ours = logits_in_chunks(model, ids, cuts)

    theirs = reference(config, model)(ids[None]).logits[0]
    torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_sequences_side_by_side_do_not_see_each_other():
    model = random_llama()
    generator = torch.Generator().manual_seed(2)
    first, second, third = (torch.randint(0, LLM.vocab_size, (n,), generator=generator) for n in (9, 14, 5))
    tables = [[7, 0, 3], [2, 9, 4, 8], [1, 5]]
    forward = TorchForward(model, KvCache(LLM, 10, BLOCK, torch.float32, "cpu"))
    # The first two decode their last token while the third's prompt comes in, as in a step of the engine.
    for ids, table in zip((first, second), tables, strict=False):
        forward(step_of(model, [(ids[:-1], 0, table)]))

    mixed = forward(step_of(model, [(first[-1:], 8, tables[0]), (second[-1:], 13, tables[1]), (third, 0, tables[2])]))

    alone = [logits_in_chunks(model, ids, [])[-1] for ids in (first, second, third)]
    torch.testing.assert_close(mixed[[0, 1, -1]], torch.stack(alone), **TOLERANCE)
