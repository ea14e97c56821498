"""The device's sampler against the host's, over whole streams: rows that are lost, refilled, shared and left."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.gpu.device_sampler import DeviceSampler
from llm_decoder.sampler import Sampler
from tests.fakes import request

VOCAB = 40
parameters = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.0, 0.7, 2.0]),
        "top_k": st.sampled_from([0, 5]),
        "top_p": st.sampled_from([1.0, 0.8]),
        "min_p": st.sampled_from([0.0, 0.05]),
        "repetition_penalty": st.sampled_from([1.0, 1.2, 0.8]),
        "presence_penalty": st.sampled_from([0.0, 0.9]),
        "frequency_penalty": st.sampled_from([0.0, -0.4]),
        "seed": st.integers(0, 5),
        "min_tokens": st.sampled_from([0, 6]),
        "logprobs": st.sampled_from([None, None, 0, 3]),
        "logit_bias": st.sampled_from([{}, {7: 4.0, 8: -100.0}]),
    }
)
prompts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12)


def twins(prompt, changes):
    return [request(prompt, max_tokens=100, stop_token_ids=[3, 4], **changes) for _ in range(2)]


def logits_of(num_rows, seed):
    return torch.randn(num_rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


@settings(max_examples=150)
@given(sequences=st.lists(st.tuples(prompts, parameters), min_size=1, max_size=6), data=st.data())
def test_streams_are_the_hosts(sequences, data):
    pairs = [twins(prompt, changes) for prompt, changes in sequences]
    sampler = DeviceSampler(VOCAB, max_sequences=3, device="cpu")
    for step in range(12):
        chosen = data.draw(st.lists(st.sampled_from(pairs), unique_by=id, max_size=3))
        logits = logits_of(len(chosen), step)
        ours, theirs = [pair[0] for pair in chosen], [pair[1] for pair in chosen]
        drawn = sampler.sample(logits.clone(), ours).wait()
        expected = Sampler().sample(logits.clone(), theirs)
        for mine, reference, got, wanted in zip(ours, theirs, drawn, expected, strict=True):
            assert got.token_id == wanted.token_id
            assert len(got.logprobs) == len(wanted.logprobs)
            for told, wanted_told in zip(got.logprobs, wanted.logprobs, strict=True):
                assert list(told) == list(wanted_told)
                assert list(told.values()) == pytest.approx(list(wanted_told.values()), abs=1e-5)
            mine.append(got.token_id, 0.0)
            reference.append(wanted.token_id, 0.0)


def test_penalties_know_tokens_that_the_host_has_not_read():
    ours, theirs = twins([1, 2], {"repetition_penalty": 5.0, "frequency_penalty": 2.0})
    sampler = DeviceSampler(VOCAB, max_sequences=1, device="cpu")
    for step in range(6):
        logits = logits_of(1, step)
        drawn = sampler.sample(logits.clone(), [ours])
        ours.num_unseen_tokens += 1
        [expected] = Sampler().sample(logits.clone(), [theirs])
        theirs.append(expected.token_id, 0.0)
        assert drawn.tokens_B.tolist() == [expected.token_id]


def test_masks_are_honoured():
    allowed = torch.zeros(VOCAB, dtype=torch.bool)
    allowed[[9, 11]] = True
    constrained, free = request([1], temperature=2.0), request([1])
    constrained.allowed_tokens = lambda output_ids: allowed
    logits = logits_of(2, 5)
    best = int(logits[1].argmax())
    constrained_token, free_token = DeviceSampler(VOCAB, 2, "cpu").sample(logits, [constrained, free]).wait()
    assert constrained_token.token_id in (9, 11)
    assert free_token.token_id == best


def test_a_step_that_yields_nothing_draws_nothing():
    assert DeviceSampler(VOCAB, 2, "cpu").sample(torch.zeros(0, VOCAB), []).wait() == []


def test_rows_of_those_that_left_are_taken_again():
    sampler = DeviceSampler(VOCAB, max_sequences=2, device="cpu")
    logits = torch.zeros(1, VOCAB)
    logits[0, 5], logits[0, 6] = 3.0, 2.0
    for _ in range(7):  # each sees row 0 or 1 after another used it
        fresh = request([1], repetition_penalty=10.0)
        chosen = []
        for _ in range(2):
            [drawn] = sampler.sample(logits.clone(), [fresh]).wait()
            fresh.append(drawn.token_id, 0.0)
            chosen.append(drawn.token_id)
        assert chosen == [5, 6]
