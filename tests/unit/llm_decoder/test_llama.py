"""LLaMA against an independent implementation (transformers), float32, random weights."""

import pytest
import torch
from llm_decoder.kv_cache import Chunk, KvCache
from transformers import LlamaConfig, LlamaForCausalLM

from tests.fakes import LLM, random_llama

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def reference(config, model):
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            intermediate_size=config.intermediate_size,
            rms_norm_eps=config.rms_norm_eps,
            rope_theta=config.rope_theta,
            max_position_embeddings=config.max_position_embeddings,
            tie_word_embeddings=config.tie_word_embeddings,
            attention_bias=False,
            mlp_bias=False,
        )
    ).eval()
    missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])
    return theirs


def logits_in_chunks(model, ids, cuts):
    """Logits of every position, the sequence computed chunk by chunk in slot 1."""
    cache = KvCache(model.config, 2, len(ids), torch.float32, "cpu")
    rows = []
    for start, stop in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        attend = cache.attention([Chunk(1, start, stop - start)])
        hidden = model(model.embed(ids[start:stop]), torch.arange(start, stop), attend)
        rows.append(model.logits(hidden))
    return torch.cat(rows)


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
@pytest.mark.parametrize("cuts", [[], [7], [1, 2, 3, 20], list(range(1, 40))], ids=["whole", "two", "mixed", "one by one"])
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
    cache = KvCache(LLM, 4, 32, torch.float32, "cpu")
    # The first two decode their last token while the third's prompt comes in, as in a step of the engine.
    for slot, ids in ((3, first), (0, second)):
        model(model.embed(ids[:-1]), torch.arange(len(ids) - 1), cache.attention([Chunk(slot, 0, len(ids) - 1)]))
    chunks = [Chunk(3, len(first) - 1, 1), Chunk(0, len(second) - 1, 1), Chunk(1, 0, len(third))]
    positions = torch.tensor([len(first) - 1, len(second) - 1, *range(len(third))])

    mixed = model(model.embed(torch.cat((first[-1:], second[-1:], third))), positions, cache.attention(chunks))

    alone = [logits_in_chunks(model, ids, [])[-1] for ids in (first, second, third)]
    torch.testing.assert_close(model.logits(mixed[[0, 1, -1]]), torch.stack(alone), **TOLERANCE)
