"""Engines whose keys and values are int8: each stream is that of its sequence computed at once, and near the exact.

Weights are float64, so that rounding never decides between two int8: what is compared then is only what is stored.
"""

import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.gpu.starting import start_engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.model_runner import ModelRunner
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import LLM, CollectingSink, random_llama, request
from tests.unit.llm_decoder.gpu.steps import BLOCK, step_of

MODEL = random_llama().double()


def scheduler_of(num_blocks, max_running, step_tokens):
    limits = Limits(max_running=max_running, max_waiting=64, step_tokens=step_tokens, ageing_s=0.05)
    return Scheduler(BlockManager(num_blocks, BLOCK), limits)


def plain_engine(*sizes):
    scheduler = scheduler_of(*sizes)
    cache = KvCache(LLM, scheduler.blocks.num_blocks, BLOCK, torch.int8, "cpu")
    return Engine(ModelRunner(MODEL, TorchForward(MODEL, cache), BLOCK), scheduler)


def overlapped_engine(*sizes):
    return start_engine(MODEL, scheduler_of(*sizes), "cpu", torch.int8)


ENGINES = pytest.mark.parametrize("engine_of", [plain_engine, overlapped_engine])


def coarse(x_NKd):
    """What an int8 row says of each value: the nearest of 255 steps between its largest magnitude and minus that."""
    step_NK1 = x_NKd.float().abs().amax(-1, keepdim=True) / 127
    return ((x_NKd.float() / step_NK1).round() * step_NK1).to(x_NKd.dtype)


def logits_at_once(ids, seen_as):
    """Logits of every position of a sequence, whose keys and values are seen as ``seen_as`` makes them."""

    def attend(layer, q_NHd, k_NKd, v_NKd):
        group = q_NHd.shape[1] // k_NKd.shape[1]
        k_NHd, v_NHd = (seen_as(rows).repeat_interleave(group, 1) for rows in (k_NKd, v_NKd))
        score_HNN = torch.einsum("nhd,mhd->hnm", q_NHd, k_NHd) * q_NHd.shape[2] ** -0.5
        later = torch.ones(len(q_NHd), len(q_NHd), dtype=torch.bool).triu(1)
        return torch.einsum("hnm,mhd->nhd", score_HNN.masked_fill(later, -torch.inf).softmax(-1), v_NHd)

    return MODEL.logits(MODEL(MODEL.embed(torch.tensor(ids)), torch.arange(len(ids)), attend))


def serve(engine, arrivals):
    sinks = [CollectingSink(cancel_after) for _, _, cancel_after in arrivals]
    for (prompt, max_tokens, _), sink in zip(arrivals, sinks, strict=True):
        engine.submit(request(prompt, sink, max_tokens=max_tokens))
    for sink in sinks:
        assert sink.done.wait(60), "the engine did not finish a sequence"
    deadline = time.monotonic() + 60
    while engine.scheduler.has_work and time.monotonic() < deadline:
        time.sleep(0.001)
    engine.scheduler.check_integrity()
    assert engine.scheduler.blocks.num_free_blocks == engine.scheduler.blocks.num_blocks
    engine.close()
    return sinks


def check(arrivals, sinks):
    for (prompt, max_tokens, cancel_after), sink in zip(arrivals, sinks, strict=True):
        if cancel_after is None:
            assert len(sink.token_ids) == max_tokens
        following = logits_at_once([*prompt, *sink.token_ids], coarse).argmax(-1).tolist()
        assert sink.token_ids == following[len(prompt) - 1 : -1]


# Few different tokens, so that prompts share prefixes; few blocks, so that sequences are preempted.
prompts = st.lists(st.integers(0, 2), min_size=1, max_size=40)
arrival = st.tuples(prompts, st.integers(1, 20), st.none() | st.integers(1, 6))


@ENGINES
@settings(max_examples=60)
@given(
    arrivals=st.lists(arrival, min_size=1, max_size=12),
    num_blocks=st.integers(15, 30),
    max_running=st.integers(1, 6),
    step_tokens=st.integers(7, 50),
)
def test_every_stream_is_that_of_its_sequence_alone(engine_of, arrivals, num_blocks, max_running, step_tokens):
    check(arrivals, serve(engine_of(num_blocks, max_running, step_tokens), arrivals))


@ENGINES
def test_preemption_and_prefix_hits_change_no_token(engine_of):
    arrivals = [([1, 2, 3, 4, 5, 6, 7, 8, 9, last], 50, None) for last in range(10, 18)]
    sinks = serve(engine_of(24, 6, 16), arrivals)
    check(arrivals, sinks)
    assert sum(sink.timings.num_preemptions for sink in sinks) > 0
    assert sum(sink.timings.num_cached_tokens for sink in sinks) > 0


def logits_by(cache_dtype, ids):
    """Logits of every position of a sequence, computed in one step over a cache of that type."""
    num_blocks = -(-len(ids) // BLOCK)
    forward = TorchForward(MODEL, KvCache(LLM, num_blocks, BLOCK, cache_dtype, "cpu"))
    step = step_of(MODEL, [(ids, 0, list(range(num_blocks)))])
    return forward(replace(step, logit_rows_R=torch.arange(len(ids), dtype=torch.int32)))


def test_logits_stay_near_those_of_exact_keys_and_values():
    [sink] = serve(plain_engine(30, 1, 50), [([4, 2], 100, None)])
    ids = [4, 2, *sink.token_ids]
    ours, exact = logits_by(torch.int8, ids), logits_by(torch.float64, ids)
    torch.testing.assert_close(exact, logits_at_once(ids, lambda rows: rows))
    off = (ours - exact).abs() / exact.std()
    assert 0 < off.max() < 0.3
    assert off.mean() < 0.03
    assert (ours.argmax(-1) == exact.argmax(-1)).float().mean() >= 0.95
