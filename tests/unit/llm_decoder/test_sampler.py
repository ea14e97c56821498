"""Sampling against an independent implementation (transformers' logits processors) and against the distribution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llm_decoder.sampler import Sampler, truncate
from tests.fakes import request

VOCAB = 50


def random_logits(seed, rows=1):
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def sample(logits_BV, requests):
    return [sampled.token_id for sampled in Sampler().sample(logits_BV, requests)]


def likelihoods(logits_BV):
    return logits_BV.softmax(dim=-1)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1000),
    temperature=st.floats(0.05, 5),
    top_k=st.integers(0, VOCAB + 5),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 0.99),
)
def test_truncation_equals_the_independent_implementation(seed, temperature, top_k, top_p, min_p):
    logits = random_logits(seed)

    ours = truncate(logits, [request([1], temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)])

    theirs = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        theirs = TopKLogitsWarper(top_k)(None, theirs)
    if top_p < 1:
        theirs = TopPLogitsWarper(top_p)(None, theirs)
    if min_p:
        theirs = MinPLogitsWarper(min_p)(None, theirs)
    borderline = (likelihoods(ours) - likelihoods(theirs)).abs().max() < 1e-5
    assert borderline or _differs_by_a_tie_at_the_border(ours, theirs, top_p)


def _differs_by_a_tie_at_the_border(ours, theirs, top_p):
    """Float sums of probabilities in another order may keep or drop the one token that sits on the border of top-p."""
    kept_ours, kept_theirs = ours.isfinite(), theirs.isfinite()
    return (kept_ours ^ kept_theirs).sum() <= 1 and top_p < 1


def test_rows_of_a_batch_are_truncated_each_by_its_own_parameters():
    logits = random_logits(1, rows=3)
    each = [{"temperature": 0.5, "top_k": 3}, {"temperature": 2.0, "top_p": 0.5}, {"temperature": 1.0}]
    together = truncate(logits, [request([1], **changes) for changes in each])
    alone = [truncate(logits[i : i + 1], [request([1], **changes)]) for i, changes in enumerate(each)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert together[0].isfinite().sum() == 3
    assert together[2].isfinite().all()


@pytest.mark.parametrize("penalty", [0.5, 1.2, 10.0])
def test_repetition_penalty_equals_the_independent_implementation(penalty):
    logits = random_logits(2)
    seen = request([4, 9, 9, 30], repetition_penalty=penalty)
    seen.append(int(logits.argmax()), 0.0)
    ids = torch.tensor([[*seen.prompt_ids, *seen.output_ids]])
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())

    chosen = sample(logits.clone(), [seen])

    assert chosen == [int(theirs.argmax())]


def test_presence_and_frequency_penalties_count_the_answer_only():
    logits = torch.zeros(1, VOCAB)
    logits[0, 7], logits[0, 8], logits[0, 9] = 3.0, 2.0, 1.5
    penalised = request([7, 7, 7, 7], presence_penalty=0.6, frequency_penalty=0.5)
    chosen = []
    for _ in range(4):
        chosen += sample(logits.clone(), [penalised])
        penalised.append(chosen[-1], 0.0)
    # 3.0, then 3 - 0.6 - 0.5 = 1.9 < 2.0, then 8 is at 0.9 and 7 at 1.9, then 7 at 3 - 0.6 - 1.0 = 1.4 < 1.5.
    assert chosen == [7, 8, 7, 9]


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -torch.inf]])
    drawing = request([1], max_tokens=5000, temperature=1.0, seed=11)
    counts = torch.zeros(5)
    for _ in range(4000):
        drawing.append(sample(logits.clone(), [drawing])[0], 0.0)
        counts[drawing.output_ids[-1]] += 1
    torch.testing.assert_close(counts / 4000, logits[0].softmax(0), atol=0.03, rtol=0)
    assert counts[4] == 0


def test_greedy_rows_are_not_touched_by_their_neighbours():
    logits = random_logits(3, rows=2)
    greedy, drawing = request([1]), request([1], temperature=5.0, seed=1)
    chosen = set()
    for _ in range(50):
        token_id, drawn = sample(logits.clone(), [greedy, drawing])
        drawing.append(drawn, 0.0)
        chosen.add(token_id)
    assert chosen == {int(logits[0].argmax())}
    assert len(set(drawing.output_ids)) > 5


def test_bias_moves_a_token_up_and_down():
    logits = random_logits(6)
    likeliest = int(logits.argmax())
    assert sample(logits.clone(), [request([1], logit_bias={17: 100.0})]) == [17]
    assert sample(logits.clone(), [request([1], logit_bias={likeliest: -100.0})]) != [likeliest]


def test_a_mask_leaves_only_what_it_allows():
    constrained = request([1], temperature=3.0, seed=2)
    allowed = torch.zeros(VOCAB, dtype=torch.bool)
    allowed[[3, 30]] = True
    constrained.allowed_tokens = lambda output_ids: allowed
    for _ in range(50):
        constrained.append(sample(random_logits(7), [constrained])[0], 0.0)
    assert set(constrained.output_ids) == {3, 30}


def test_logprobs_are_the_models_own_before_any_change():
    logits = random_logits(8, rows=2)
    told = request([1], logprobs=3, temperature=0.7, seed=5, logit_bias={4: 50.0})
    drawn, silent = Sampler().sample(logits.clone(), [told, request([1])])
    expected = logits[0].log_softmax(0)
    assert drawn.token_id == 4
    assert silent.logprobs == ()
    [logprobs] = drawn.logprobs
    assert list(logprobs) == [4, *expected.topk(3).indices.tolist()]
    for token_id, logprob in logprobs.items():
        assert logprob == pytest.approx(float(expected[token_id]), abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    temperature=st.sampled_from([0.0, 0.001, 1.0, 5.0]),
    top_k=st.sampled_from([0, 1, VOCAB, 1 << 30]),
    top_p=st.sampled_from([1e-9, 0.5, 1.0]),
    min_p=st.sampled_from([0.0, 0.999]),
    repetition_penalty=st.sampled_from([0.1, 1.0, 10.0]),
    presence_penalty=st.sampled_from([-2.0, 0.0, 2.0]),
    frequency_penalty=st.sampled_from([-2.0, 0.0, 2.0]),
    scale=st.sampled_from([0.0, 1.0, 1e4, 1e30]),
)
def test_every_combination_yields_a_token(scale, **changes):
    sampled = request([1, 2, 3], **changes)
    sampled.append(2, 0.0)
    assert 0 <= sample(random_logits(5) * scale, [sampled])[0] < VOCAB


@pytest.mark.parametrize(
    "asked",
    [
        {"temperature": 1.0},
        {"repetition_penalty": 1.2},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"logit_bias": {3: 1.0}},
        {"min_tokens": 3, "stop_token_ids": [4]},
        {"allowed_tokens": lambda output_ids: torch.arange(VOCAB) == 5},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_who_knows_the_likeliest_tokens_is_asked_while_logits_are_as_they_came(asked):
    def told(logits_BV):
        return [7] * len(logits_BV)

    changes = {name: value for name, value in asked.items() if name != "allowed_tokens"}
    plain, other = request([1]), request([1], **changes)
    other.append(2, 0.0)
    other.allowed_tokens = asked.get("allowed_tokens")
    logits = random_logits(0, rows=2)
    assert [token_id for token_id, _ in Sampler(told).sample(logits.clone(), [plain, plain])] == [7, 7]
    drawn = [token_id for token_id, _ in Sampler(told).sample(logits.clone(), [plain, other])]
    assert drawn == sample(logits, [plain, other])
