"""One trace from the front to the engine behind it: what was done, who left, what failed."""

from __future__ import annotations

import time

import grpc
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from llm_decoder import answer_spans
from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.engine_client import EngineClient, EngineOutput
from llm_decoder.front import DecoderFront
from llm_decoder.grammar.constraint import Grammars
from llm_decoder.scheduler import Limits, Scheduler
from llm_decoder.stopwatch import Stopwatch
from tests.unit.llm_decoder.in_process import InProcess, Script
from trichord import server
from trichord.telemetry import names, spans
from trichord.v1.decoder_pb2 import (
    ROLE_USER,
    CountTokensRequest,
    DecoderMessage,
    DecoderPart,
    GenerateRequest,
    SamplingParams,
)
from trichord.v1.decoder_pb2_grpc import DecoderServiceStub

RPC = "trichord.v1.DecoderService/Generate"
MESSAGES = [DecoderMessage(role=ROLE_USER, parts=[DecoderPart(text="a secret")])]


@pytest.fixture
def script(config, vocabulary):
    return Script(config.llm, vocabulary, seed=10)


@pytest.fixture
def triton(script, tiny):
    engine = Engine(script, Scheduler(BlockManager(1024, 16), Limits(8, 8, 64)), script)
    triton = InProcess(engine, Grammars.read(tiny))
    yield triton
    engine.close()
    triton.requests.close()


@pytest.fixture
async def stub(triton, intake, vocabulary, decoder_settings, recorded_spans):
    """A front that records."""
    front = DecoderFront(intake, vocabulary, EngineClient(triton, intake.template.stop_ids), default_deadline_s=60)
    running = await server.start(front.register, decoder_settings)
    async with server.open_channel(f"127.0.0.1:{running.port}", 1 << 20, is_slow_reader=True) as channel:
        yield DecoderServiceStub(channel)
    await running.server.stop(0)


def asking(**sampling):
    return GenerateRequest(messages=MESSAGES, sampling=SamplingParams(seed=10, ignore_eos=True, **sampling))


async def test_an_answer_is_one_tree_into_the_engine(stub, recorded_spans, until):
    answer = [event async for event in stub.Generate(asking(max_tokens=3), timeout=60)]
    await until(lambda: recorded_spans.named("decode") and recorded_spans.named(RPC))

    assert recorded_spans.tree() == [
        ("decode", "triton llama"),
        ("engine queue", "triton llama"),
        ("prefill", "triton llama"),
        ("prepare", RPC),
        (RPC, ""),
        ("triton llama", RPC),
    ]
    assert len({span.context.trace_id for span in recorded_spans.ended}) == 1
    counts = answer[0].started.prompt_tokens
    assert recorded_spans.one("prepare").attributes == {
        names.TEXT_TOKENS: counts.text,
        names.IMAGE_TOKENS: 0,
        names.AUDIO_TOKENS: 0,
    }
    call, decode = recorded_spans.one("triton llama"), recorded_spans.one("decode")
    assert call.kind is SpanKind.CLIENT
    assert call.attributes == {
        names.OUTPUT_TOKENS: 3,
        names.CACHED_TOKENS: 0,
        names.PREEMPTIONS: 0,
        names.FINISH_REASONS: ("length",),
    }
    (first_token,) = call.events
    assert first_token.name == names.FIRST_TOKEN
    assert call.start_time < decode.start_time <= first_token.timestamp < call.end_time
    assert decode.attributes[names.FINISH_REASONS] == ("length",)
    assert not any("secret" in span.to_json() for span in recorded_spans.ended)


def test_the_first_token_is_told_at_its_time(recorded_spans):
    stopwatch = Stopwatch()
    with answer_spans.of_stream("triton llama", [], stopwatch):
        stopwatch.took(EngineOutput([1], None, None))
        came_ns = time.time_ns()
        time.sleep(0.1)
    (first_token,) = recorded_spans.one("triton llama").events
    assert first_token.timestamp < came_ns + 50e6


async def test_samples_are_told_one_by_one_and_a_stop_string_is_no_failure(stub, recorded_spans, until):
    [_ async for _ in stub.Generate(asking(n=3, stop=["."], max_tokens=100), timeout=60)]
    await until(lambda: len(recorded_spans.named("decode")) == 3)

    call = recorded_spans.one("triton llama")
    assert call.attributes[names.FINISH_REASONS] == ("stop_string", "length", "length")
    assert call.status.status_code is StatusCode.UNSET
    by_sample = {span.attributes[names.SAMPLE]: span for span in recorded_spans.named("decode")}
    assert sorted(by_sample) == [0, 1, 2]
    assert by_sample[0].status.status_code is StatusCode.UNSET
    assert by_sample[0].attributes[names.TOKENS] < 100
    assert by_sample[2].attributes[names.FINISH_REASONS] == ("length",)
    assert by_sample[2].attributes[names.BATCH_SIZE_MAX] == 3


async def test_an_answer_that_a_stop_string_ended_whole_is_no_failure(stub, recorded_spans, until):
    [_ async for _ in stub.Generate(asking(stop=["."], max_tokens=1000), timeout=60)]
    await until(lambda: recorded_spans.named("decode") and recorded_spans.named(RPC))
    assert recorded_spans.one("triton llama").attributes[names.FINISH_REASONS] == ("stop_string",)
    assert [span.status.status_code for span in recorded_spans.ended] == [StatusCode.UNSET] * 6


async def test_who_leaves_is_seen_to_leave_in_front_and_engine(stub, triton, recorded_spans, until):
    call = stub.Generate(asking(max_tokens=1500, n=2), timeout=60)
    for _ in range(3):
        await call.read()
    call.cancel()
    await until(lambda: len(recorded_spans.named("decode")) == 2 and recorded_spans.named(RPC))
    for span in (*recorded_spans.named("decode"), recorded_spans.one("triton llama"), recorded_spans.one(RPC)):
        assert span.attributes[names.ERROR_TYPE] == "CANCELLED", span.name
    assert recorded_spans.one("triton llama").attributes[names.OUTPUT_TOKENS] > 0
    assert names.FINISH_REASONS not in recorded_spans.one("triton llama").attributes
    assert triton.controls, "the engine was told"
    assert not any(spans.TRACEPARENT in control for control in triton.controls), "which is not traced"


async def test_a_model_that_fails_is_seen_to_fail(stub, script, recorded_spans, until, monkeypatch):
    monkeypatch.setattr(script, "step", lambda step: (_ for _ in ()).throw(RuntimeError("a secret")))
    with pytest.raises(grpc.aio.AioRpcError):
        [_ async for _ in stub.Generate(asking(), timeout=60)]
    await until(lambda: recorded_spans.named("prefill") and recorded_spans.named(RPC))
    for name in ("prefill", "triton llama", RPC):
        assert recorded_spans.one(name).attributes[names.ERROR_TYPE] == "INTERNAL"
    assert recorded_spans.one("prepare").status.status_code is StatusCode.UNSET
    assert not any("secret" in span.to_json() for span in recorded_spans.ended)


async def test_what_is_refused_fails_in_its_preparation(stub, recorded_spans, until):
    with pytest.raises(grpc.aio.AioRpcError):
        [_ async for _ in stub.Generate(asking(temperature=-1.0), timeout=60)]
    await until(lambda: recorded_spans.named(RPC))
    assert recorded_spans.tree() == [("prepare", RPC), (RPC, "")]
    assert recorded_spans.one("prepare").attributes[names.ERROR_ORIGIN]


async def test_counting_is_preparing(stub, recorded_spans, until):
    await stub.CountTokens(CountTokensRequest(messages=MESSAGES))
    await until(lambda: len(recorded_spans.ended) == 2)
    assert recorded_spans.tree() == [
        ("prepare", "trichord.v1.DecoderService/CountTokens"),
        ("trichord.v1.DecoderService/CountTokens", ""),
    ]


async def test_what_is_not_recorded_leaves_no_trail(stub, script, triton, recorded_spans):
    recorded_spans.switch.is_on = False
    [_ async for _ in stub.Generate(asking(max_tokens=3), timeout=60)]
    assert script.requests[10].trail is None
    assert spans.TRACEPARENT not in triton.asked[0]
    assert recorded_spans.ended == ()
