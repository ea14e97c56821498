"""Every combination of sampling parameters that a caller may ask for, in any company: the engine survives it."""

import itertools
import math
import time
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from llm_decoder import sampling_limits
from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.gpu.starting import start_engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.model_runner import ModelRunner
from llm_decoder.request import Finish, Priority, Request
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import LLM, CollectingSink, random_llama
from trichord.v1.decoder_pb2 import SamplingParams

MODEL = random_llama()
BLOCK, NUM_BLOCKS = 4, 40
CONTEXT = LLM.max_position_embeddings


def plain_engine():
    cache = KvCache(LLM, NUM_BLOCKS, BLOCK, torch.float32, "cpu")
    return Engine(ModelRunner(MODEL, TorchForward(MODEL, cache), BLOCK), scheduler())


def overlapped_engine():
    return start_engine(MODEL, scheduler(), "cpu")


def scheduler():
    limits = Limits(max_running=5, max_waiting=100, step_tokens=12, prompt_share=3, ageing_s=0.01)
    return Scheduler(BlockManager(NUM_BLOCKS, BLOCK), limits)


def number(low, high, *special, exclude_min=False, exclude_max=False):
    """Numbers of a range, its ends and the values at which the meaning changes most of all."""
    ends = [value for value, is_out in ((low, exclude_min), (high, exclude_max)) if not is_out]
    return st.sampled_from([*ends, *special]) | st.floats(low, high, exclude_min=exclude_min, exclude_max=exclude_max)


token_ids = st.integers(0, LLM.vocab_size - 1)
biases = st.dictionaries(token_ids, number(-100.0, 100.0, 0.0), max_size=8)
every_bias = number(-100.0, 100.0).map(lambda bias: dict.fromkeys(range(LLM.vocab_size), bias))

ANSWER = {"max_tokens": st.sampled_from([1, 2]) | st.integers(1, 24)}
OPTIONAL = {
    "temperature": number(0.0, 5.0, 5e-324, sampling_limits.GREEDY_BELOW, 1.0),
    "top_k": st.sampled_from([0, 1, LLM.vocab_size, 2**31 - 1]) | st.integers(0, 2 * LLM.vocab_size),
    "top_p": number(0.0, 1.0, 5e-324, 1e-9, 1 - 1e-16, exclude_min=True),
    "min_p": number(0.0, 1.0, 5e-324, 1 - 1e-16, exclude_max=True),
    "repetition_penalty": number(0.1, 10.0, 1.0),
    "presence_penalty": number(-2.0, 2.0, 0.0),
    "frequency_penalty": number(-2.0, 2.0, 0.0),
    "seed": st.sampled_from([0, 2**63 - 1]) | st.integers(0, 2**63 - 1),
    "min_tokens": st.integers(0, 24),
    "ignore_eos": st.booleans(),
    "logit_bias": biases | every_bias,
    "logprobs": st.sampled_from([0, 20]) | st.integers(0, 20),
    "n": st.sampled_from([1, 1, 1, 8]) | st.integers(1, 8),
}
params = st.fixed_dictionaries(ANSWER, optional=OPTIONAL).filter(
    lambda fields: fields.get("min_tokens", 0) <= fields["max_tokens"]
)

asked = st.fixed_dictionaries(
    {
        "prompt": st.lists(st.integers(0, 2) | token_ids, min_size=1, max_size=40),
        "params": params,
        "stop_token_ids": st.sets(token_ids, max_size=3) | st.just(set(range(1, LLM.vocab_size))),
        "allowed": st.none() | st.none() | st.sets(token_ids, min_size=1),
        "priority": st.sampled_from(Priority),
        "cancel_after": st.lists(st.none() | st.none() | st.integers(0, 10), min_size=8, max_size=8),
    }
)


def test_nothing_that_may_be_asked_is_left_out():
    elsewhere = {"stop", "response_format"}  # text: the front's; of a format the engine sees masks, and those are drawn
    assert {*ANSWER, *OPTIONAL} == {*SamplingParams.DESCRIPTOR.fields_by_name} - elsewhere


def samples_of(asked):
    """The engine's requests of one caller's, as the model's adapter makes them."""
    left = CONTEXT - len(asked["prompt"])
    sampling = sampling_limits.check(SamplingParams(**asked["params"]), left, LLM.vocab_size)
    allowed = None
    if asked["allowed"]:
        allowed = torch.zeros(LLM.vocab_size, dtype=torch.bool)
        allowed[list(asked["allowed"])] = True
    leader = None
    for sample in range(sampling.num_samples):
        request = Request(
            prompt_ids=asked["prompt"],
            sampling=replace(sampling, seed=sampling.seed + sample),
            stop_token_ids=frozenset(asked["stop_token_ids"]),
            sink=CollectingSink(asked["cancel_after"][sample]),
            arrival_s=time.monotonic(),
            priority=asked["priority"],
            leader=leader,
            allowed_tokens=None if allowed is None else lambda output_ids, allowed=allowed: allowed,
        )
        leader = leader or request
        yield request


def check(request, asked):
    """One stream: whole, in bounds, and with a reason."""
    sink, sampling = request.sink, request.sampling
    if sink.failure is not None:
        assert sink.cancel_after is not None, sink.failure
        assert "cancelled" in sink.failure
    else:
        ended = sink.token_ids[-1] in request.stop_token_ids and not sampling.ignore_eos
        assert sink.reason == (Finish.END_OF_TURN if ended else Finish.LENGTH)
        assert ended or len(sink.token_ids) == sampling.max_tokens
    assert len(sink.token_ids) <= sampling.max_tokens
    assert all(0 <= token_id < LLM.vocab_size for token_id in sink.token_ids)
    check_wishes(request, asked["allowed"] or set(range(LLM.vocab_size)))
    if sampling.logprobs is None:
        assert not sink.logprobs
    else:
        check_logprobs(sink, sampling.logprobs)


def check_wishes(request, allowed):
    """Masks hold, and the ban of an early end too, wherever both leave something to say."""
    if going_on := allowed - request.stop_token_ids:
        is_banned = [not request.sampling.ignore_eos] * request.sampling.min_tokens
        for token_id, may_not_end in itertools.zip_longest(request.sink.token_ids, is_banned):
            assert token_id is None or token_id in (going_on if may_not_end else allowed)


def check_logprobs(sink, num_rivals):
    assert [next(iter(told)) for told in sink.logprobs] == sink.token_ids
    for told in sink.logprobs:
        assert num_rivals <= len(told) <= num_rivals + 1
        assert all(math.isfinite(value) and value <= 1e-6 for value in told.values())


def wait_until_idle(engine):
    deadline = time.monotonic() + 30
    while engine.scheduler.has_work and time.monotonic() < deadline:
        time.sleep(0.001)
    engine.scheduler.check_integrity()
    assert engine.scheduler.blocks.num_free_blocks == NUM_BLOCKS


@pytest.fixture(scope="module", params=[plain_engine, overlapped_engine])
def engine(request):
    """One engine for all: it has to survive everything that came before, too."""
    engine = request.param()
    yield engine
    engine.close()


@hypothesis.settings(max_examples=150)
@hypothesis.given(company=st.lists(asked, min_size=1, max_size=6))
def test_the_engine_survives_whatever_is_asked_of_it(engine, company):
    requests = [(request, one) for one in company for request in samples_of(one)]
    for request, _ in requests:
        engine.submit(request)
    for request, _ in requests:
        assert request.sink.done.wait(60), "a stream has no end"
    wait_until_idle(engine)
    for request, one in requests:
        check(request, one)
