"""The loop that is one step ahead against the plain one: every stream is the same, and no block is lost."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.gpu.starting import start_engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.model_runner import ModelRunner
from llm_decoder.request import Finish, Priority, Request, Span
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import LLM, CollectingSink, random_llama, request, sampling
from trichord.errors import SettingsError
from trichord.settings import ModelSettings

MODEL = random_llama()
BLOCK, STOP = 4, 5


def scheduler_of(num_blocks=128, max_running=3, step_tokens=8, max_waiting=64):
    limits = Limits(max_running=max_running, max_waiting=max_waiting, step_tokens=step_tokens, ageing_s=0.05)
    return Scheduler(BlockManager(num_blocks, BLOCK), limits)


def plain_engine(**changes):
    scheduler = scheduler_of(**changes)
    cache = KvCache(LLM, scheduler.blocks.num_blocks, BLOCK, torch.float32, "cpu")
    return Engine(ModelRunner(MODEL, TorchForward(MODEL, cache), BLOCK), scheduler)


def overlapped_engine(**changes):
    return start_engine(MODEL, scheduler_of(**changes), "cpu")


@pytest.fixture
def start():
    engines = []

    def start(**changes):
        engines.append(overlapped_engine(**changes))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def wait(sinks):
    for sink in sinks:
        assert sink.done.wait(60), "the engine did not finish a sequence"


def wait_until_idle(engine):
    deadline = time.monotonic() + 60
    while engine.scheduler.has_work and time.monotonic() < deadline:
        time.sleep(0.001)
    engine.scheduler.check_integrity()
    assert engine.scheduler.blocks.num_free_blocks == engine.scheduler.blocks.num_blocks


def run(engine, arrivals):
    sinks = [CollectingSink(arrival["cancel_after"]) for arrival in arrivals]
    for arrival, sink in zip(arrivals, sinks, strict=True):
        arriving = request(arrival["prompt"], sink, stop_token_ids=[STOP], **arrival["sampling"])
        arriving.priority, arriving.arrival_s = arrival["priority"], time.monotonic()
        engine.submit(arriving)
    wait(sinks)
    wait_until_idle(engine)
    engine.close()
    return sinks


# Few different tokens, so that prompts share prefixes; few blocks, so that sequences are preempted.
prompts = st.lists(st.integers(0, 2), min_size=1, max_size=40)
samplings = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 20),
        "temperature": st.sampled_from([0.0, 0.0, 1.0]),
        "top_k": st.sampled_from([0, 4]),
        "repetition_penalty": st.sampled_from([1.0, 1.2]),
        "frequency_penalty": st.sampled_from([0.0, 0.5]),
        "seed": st.integers(0, 3),
        "min_tokens": st.sampled_from([0, 0, 1]),
        "logprobs": st.sampled_from([None, None, 2]),
    }
)
arrivals = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": prompts,
            "sampling": samplings,
            "cancel_after": st.none() | st.integers(0, 6),
            "priority": st.sampled_from(Priority),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=100)
@given(arrivals=arrivals, num_blocks=st.integers(15, 30), max_running=st.integers(1, 6), step_tokens=st.integers(7, 50))
def test_every_stream_is_the_plain_engines(arrivals, num_blocks, max_running, step_tokens):
    changes = {"num_blocks": num_blocks, "max_running": max_running, "step_tokens": step_tokens}
    ours = run(overlapped_engine(**changes), arrivals)
    uncancelled = [{**arrival, "cancel_after": None} for arrival in arrivals]
    theirs = run(plain_engine(**changes), uncancelled)

    for sink, reference in zip(ours, theirs, strict=True):
        assert reference.failure is None
        assert sink.token_ids == reference.token_ids[: len(sink.token_ids)]
        assert [list(told) for told in sink.logprobs] == [list(t) for t in reference.logprobs[: len(sink.logprobs)]]
        if sink.failure is None:
            assert (sink.token_ids, sink.reason) == (reference.token_ids, reference.reason)
            assert sink.started is not None


def test_media_rows_are_read(start):
    rows = torch.randn(6, LLM.hidden_size, generator=torch.Generator().manual_seed(3))
    answers = []
    for engine in (start(step_tokens=5), plain_engine(step_tokens=5)):
        sink = CollectingSink()
        spans = [Span(2, 4), Span(11, 2)]
        engine.submit(
            Request(list(range(1, 21)), sampling(max_tokens=12), frozenset(), sink, 0.0, media_rows=rows, spans=spans)
        )
        wait([sink])
        answers.append(sink.token_ids)
        engine.close()
    assert answers[0] == answers[1]


def test_a_constrained_answer_depends_on_what_was_said(start):
    def follow(output_ids):  # after n comes n + 1
        allowed = torch.zeros(LLM.vocab_size, dtype=torch.bool)
        allowed[(output_ids[-1] + 1 if output_ids else 10) % LLM.vocab_size] = True
        return allowed

    sink, beside = CollectingSink(), CollectingSink()
    engine = start()
    constrained = request([4, 2], sink, max_tokens=12)
    constrained.allowed_tokens = follow
    engine.submit(constrained)
    engine.submit(request([4, 2], beside, max_tokens=30))
    wait([sink, beside])
    assert sink.token_ids == list(range(10, 22))
    assert len(beside.token_ids) == 30


def test_a_reader_that_rests_gets_every_token(start):
    engine = start()
    sink = CollectingSink()
    engine.submit(request([4, 2], sink, max_tokens=40))
    for _ in range(20):
        sink.full = not sink.full
        time.sleep(0.002)
    sink.full = False
    wait([sink])
    expected = CollectingSink()
    reference = plain_engine()
    reference.submit(request([4, 2], expected, max_tokens=40))
    wait([expected])
    reference.close()
    assert sink.token_ids == expected.token_ids
    wait_until_idle(engine)


@pytest.mark.parametrize("where", ["launch", "landing"])
def test_a_failing_step_fails_its_sequences_and_no_others(start, monkeypatch, where):
    engine = start()

    def fail(*_):
        raise RuntimeError("out of memory")

    if where == "launch":
        monkeypatch.setattr(engine._gpu_runner, "step", fail)
    else:
        monkeypatch.setattr("llm_decoder.gpu.device_sampler.Drawn.wait", fail)
    lost = CollectingSink()
    engine.submit(request([1, 2, 3], lost))
    wait([lost])
    assert lost.failure is not None
    assert "memory" not in str(lost.failure)

    monkeypatch.undo()
    served = CollectingSink()
    engine.submit(request([1, 2, 3], served))
    wait([served])
    assert served.reason == Finish.LENGTH
    wait_until_idle(engine)


def test_two_hundred_requests_with_random_cancels_leave_every_block_free(start):
    engine = start(max_running=32, max_waiting=256, step_tokens=64)
    cancels = torch.randint(0, 12, (200,), generator=torch.Generator().manual_seed(4)).tolist()
    sinks = [CollectingSink(cancel if cancel % 3 == 0 else None) for cancel in cancels]
    for i, sink in enumerate(sinks):
        engine.submit(request([i % 90, 2, 3], sink, max_tokens=10))
    wait(sinks)
    wait_until_idle(engine)
    kept = [sink for sink in sinks if sink.cancel_after is None]
    assert all(len(sink.token_ids) == 10 for sink in kept)


def test_the_host_is_one_step_behind(start, monkeypatch):
    """The second token is launched before the first is read: else nothing would overlap."""
    engine = start()
    events = []
    step, wait_for = engine._gpu_runner.step, "llm_decoder.gpu.device_sampler.Drawn.wait"
    from llm_decoder.gpu.device_sampler import Drawn

    read = Drawn.wait
    monkeypatch.setattr(engine._gpu_runner, "step", lambda *given: (events.append("launch"), step(*given))[1])
    monkeypatch.setattr(wait_for, lambda drawn: (events.append("read"), read(drawn))[1])
    sink = CollectingSink()
    engine.submit(request([1, 2, 3], sink, max_tokens=4))
    wait([sink])
    assert events == ["launch", "launch", "read", "launch", "read", "launch", "read", "read"]


def test_an_end_that_is_known_ahead_costs_no_step(start):
    engine = start()
    sink = CollectingSink()
    engine.submit(request([1, 2, 3], sink, max_tokens=1))
    wait([sink])
    assert len(sink.token_ids) == 1
    wait_until_idle(engine)


def test_int8_weights_are_refused_on_a_gpu(tiny):
    with pytest.raises(SettingsError, match="CPU only"):
        load_engine(ModelSettings(checkpoint=tiny), EngineSettings(weights="int8"), "cuda:0")
