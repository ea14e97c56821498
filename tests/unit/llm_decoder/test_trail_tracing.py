"""What a sequence met in the engine, as spans: made by a real engine, of sequences that meet everything."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
import torch
from opentelemetry.trace import StatusCode

from llm_decoder import trail_spans
from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.model_runner import ModelRunner
from llm_decoder.request import Priority
from llm_decoder.scheduler import Limits, Scheduler
from llm_decoder.traced_sink import TracedSink
from llm_decoder.trail import MAX_CHUNKS, MAX_EVENTS, Chunk, Trail
from tests.fakes import LLM, CollectingSink, random_llama, request
from trichord.telemetry import names, spans

MODEL, BLOCK = random_llama(), 4


class Reader(CollectingSink):
    """Gives up when it stops reading, unless it ``is_satisfied``."""

    is_satisfied = False


class Traced:
    """A request that is traced, and where its tokens go."""

    def __init__(self, prompt, cancel_after=None, **changes):
        self.reader, self.told = Reader(cancel_after), threading.Event()
        self.request = request(prompt, self.reader, **changes)
        self.request.arrival_s = time.monotonic()
        self.request.trail = self.trail = Trail(self.request.arrival_s)
        self.request.sink = TracedSink(self.reader, self.trail, lambda trail: self.told.set())

    def spans(self):
        """Has them recorded, once it is over."""
        assert self.told.wait(60), "the engine did not finish a sequence"
        with spans.span("model") as model:
            trail_spans.tell(self.trail, spans.within(model), {names.SIMULATED: True})


@pytest.fixture
def start_engine():
    engines = []

    def start(num_blocks=128, max_running=3, max_waiting=64, step_tokens=8):
        cache = KvCache(LLM, num_blocks, BLOCK, torch.float32, "cpu")
        limits = Limits(max_running=max_running, max_waiting=max_waiting, step_tokens=step_tokens)
        runner = ModelRunner(MODEL, TorchForward(MODEL, cache), BLOCK)
        engines.append(Engine(runner, Scheduler(BlockManager(num_blocks, BLOCK), limits)))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def events(span):
    return [event.name for event in span.events]


def test_a_long_prompt_is_told_chunk_by_chunk_and_an_answer_as_one(start_engine, recorded_spans):
    traced = Traced(list(range(1, 21)), max_tokens=6)
    start_engine().submit(traced.request)
    traced.spans()

    chunks = recorded_spans.named("prefill chunk")
    assert recorded_spans.tree() == [
        ("decode", "model"),
        ("engine queue", "model"),
        ("model", ""),
        ("prefill", "model"),
        *[("prefill chunk", "prefill")] * 3,
    ]
    assert [chunk.attributes[names.TOKENS] for chunk in chunks] == [8, 8, 4]
    queue, prefill, decode = (recorded_spans.one(name) for name in ("engine queue", "prefill", "decode"))
    times = [queue.start_time, queue.end_time, prefill.end_time, decode.end_time]
    assert times == sorted(times)
    assert (prefill.start_time, decode.start_time) == (queue.end_time, prefill.end_time)
    assert abs(time.time_ns() - decode.end_time) < 60e9, "in Unix time"
    for before, after in itertools.pairwise(chunks):
        assert prefill.start_time <= before.start_time < before.end_time <= after.start_time < prefill.end_time
    assert prefill.attributes == {
        names.SIMULATED: True,
        names.SAMPLE: 0,
        names.TOKENS: 20,
        names.CACHED_TOKENS: 0,
        names.CHUNKS: 3,
    }
    assert decode.attributes == {
        names.SIMULATED: True,
        names.SAMPLE: 0,
        names.TOKENS: 6,
        names.PREEMPTIONS: 0,
        names.FINISH_REASONS: ("length",),
        names.STEPS: 5,
        names.BATCH_SIZE_MIN: 1,
        names.BATCH_SIZE_MAX: 1,
        names.BATCH_SIZE_MEAN: 1.0,
    }
    assert events(decode) == [names.FIRST_TOKEN]
    assert all(span.status.status_code is StatusCode.UNSET for span in recorded_spans.ended)


def test_what_the_cache_knew_is_told_and_one_chunk_is_no_span(start_engine, recorded_spans):
    engine = start_engine(step_tokens=64)
    for _ in range(2):
        traced = Traced(list(range(1, 21)), max_tokens=2)
        engine.submit(traced.request)
        traced.spans()
    first, second = recorded_spans.named("prefill")
    assert (first.attributes[names.CACHED_TOKENS], first.attributes[names.TOKENS]) == (0, 20)
    assert (second.attributes[names.CACHED_TOKENS], second.attributes[names.TOKENS]) == (16, 4)
    assert recorded_spans.named("prefill chunk") == []


def test_a_preempted_sequence_says_when_and_goes_on(start_engine, recorded_spans):
    engine = start_engine(num_blocks=16, max_running=4, step_tokens=16)
    all_of_them = [Traced([i, i + 1, i + 2], max_tokens=40) for i in range(4)]
    for traced in all_of_them:
        engine.submit(traced.request)
    for traced in all_of_them:
        traced.spans()

    decodes = recorded_spans.named("decode")
    assert [decode.attributes[names.TOKENS] for decode in decodes] == [40] * 4
    num_preemptions = [decode.attributes[names.PREEMPTIONS] for decode in decodes]
    assert num_preemptions == [traced.reader.timings.num_preemptions for traced in all_of_them]
    assert sum(num_preemptions) > 0
    for decode, number in zip(decodes, num_preemptions, strict=True):
        assert events(decode) == [names.FIRST_TOKEN, *["preempted", "resumed"] * number]
        assert [event.timestamp for event in decode.events] == sorted(event.timestamp for event in decode.events)
    assert max(decode.attributes[names.BATCH_SIZE_MAX] for decode in decodes) > 1


def test_a_slow_readers_rests_are_told(start_engine, recorded_spans):
    engine = start_engine()
    traced = Traced([1, 2, 3], max_tokens=30)
    traced.reader.full = True
    engine.submit(traced.request)
    while not traced.trail.events:
        time.sleep(0.001)
    traced.reader.full = False
    traced.spans()
    assert events(recorded_spans.one("engine queue")) == ["rests"]
    happened = [event.name for event in traced.trail.events]
    assert happened == ["rests", "goes on", names.FIRST_TOKEN]


@pytest.mark.parametrize(("is_satisfied", "error"), [(False, "CANCELLED"), (True, None)])
def test_only_a_reader_that_gave_up_cancels(start_engine, recorded_spans, is_satisfied, error):
    traced = Traced([1, 2, 3], cancel_after=5, max_tokens=40)
    traced.reader.is_satisfied = is_satisfied
    start_engine().submit(traced.request)
    traced.spans()
    decode = recorded_spans.one("decode")
    assert decode.attributes.get(names.ERROR_TYPE) == error
    assert decode.attributes[names.TOKENS] == 5
    assert names.FINISH_REASONS not in decode.attributes
    assert recorded_spans.one("prefill").status.status_code is StatusCode.UNSET


def test_who_waits_too_long_fails_in_the_queue(start_engine, recorded_spans):
    traced = Traced([1, 2, 3])
    traced.request.deadline_s = 0.0
    start_engine().submit(traced.request)
    traced.spans()
    assert recorded_spans.tree() == [("engine queue", "model"), ("model", "")]
    assert recorded_spans.one("engine queue").attributes[names.ERROR_TYPE] == "DEADLINE_EXCEEDED"


def test_who_is_refused_fails_in_the_queue(start_engine, recorded_spans):
    traced = Traced([LLM.vocab_size])
    start_engine().submit(traced.request)
    traced.spans()
    assert recorded_spans.one("engine queue").attributes[names.ERROR_TYPE] == traced.reader.error.reason


def test_a_failing_step_fails_the_prefill_that_it_was(start_engine, recorded_spans, monkeypatch):
    engine = start_engine()
    monkeypatch.setattr(engine.runner, "step", lambda step: (_ for _ in ()).throw(RuntimeError("out of memory")))
    traced = Traced([1, 2, 3])
    engine.submit(traced.request)
    traced.spans()
    prefill = recorded_spans.one("prefill")
    assert (prefill.attributes[names.ERROR_TYPE], prefill.status.status_code) == ("INTERNAL", StatusCode.ERROR)
    assert recorded_spans.named("decode") == []
    assert not any("memory" in span.to_json() for span in recorded_spans.ended)


def test_others_are_not_told_of(start_engine, recorded_spans):
    engine, plain, traced = start_engine(), CollectingSink(), Traced([1, 2, 3], max_tokens=30)
    company = request([4, 5, 6], plain, max_tokens=30)
    company.priority = Priority.BATCH
    engine.submit(company)
    engine.submit(traced.request)
    traced.spans()
    assert plain.done.wait(60)
    assert company.trail is None
    assert len(recorded_spans.named("decode")) == 1


def test_what_is_told_is_bounded():
    trail = Trail(0.0)
    for step in range(MAX_CHUNKS + 50):
        trail.chunk(Chunk(step, step + 0.5, 7, batch_size=step))
        trail.note("rests", step)
        trail.note("goes on", step)
    assert len(trail.events) == MAX_EVENTS
    assert len(trail.chunks) == MAX_CHUNKS
    assert trail.chunks[-1] == Chunk(MAX_CHUNKS - 1, MAX_CHUNKS + 49.5, 7 * 51, MAX_CHUNKS + 49)
    assert sum(chunk.num_tokens for chunk in trail.chunks) == 7 * (MAX_CHUNKS + 50)
