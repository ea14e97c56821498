"""The front over a real engine, through the model's own adapter: only the model's arithmetic and Triton are missing."""

from __future__ import annotations

import asyncio

import pytest

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.engine_client import EngineClient
from llm_decoder.front import DecoderFront
from llm_decoder.grammar.constraint import Grammars
from llm_decoder.scheduler import Limits, Scheduler
from tests.unit.llm_decoder.in_process import InProcess, Script
from trichord import server
from trichord.errors import InternalError
from trichord.v1.decoder_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP_STRING,
    ROLE_USER,
    DecoderMessage,
    DecoderPart,
    GenerateRequest,
    SamplingParams,
)
from trichord.v1.decoder_pb2_grpc import DecoderServiceStub

NUM_BLOCKS = 1024


@pytest.fixture
def script(config, vocabulary):
    return Script(config.llm, vocabulary, seed=10)


@pytest.fixture
def engine(script):
    limits = Limits(max_running=8, max_waiting=8, step_tokens=64)
    engine = Engine(script, Scheduler(BlockManager(NUM_BLOCKS, 16), limits), script)
    yield engine
    engine.close()


@pytest.fixture
def triton(engine, tiny):
    return InProcess(engine, Grammars.read(tiny))


@pytest.fixture
async def target(triton, intake, vocabulary, decoder_settings):
    """Where a front over the engine listens."""
    front = DecoderFront(intake, vocabulary, EngineClient(triton, intake.template.stop_ids), default_deadline_s=60)
    running = await server.start(front.register, decoder_settings)
    yield f"127.0.0.1:{running.port}"
    await running.server.stop(0)


@pytest.fixture
async def stub(target):
    async with server.open_channel(target, 1 << 20, is_slow_reader=True) as channel:
        yield DecoderServiceStub(channel)


def asking(**sampling):
    message = DecoderMessage(role=ROLE_USER, parts=[DecoderPart(text="hi")])
    return GenerateRequest(messages=[message], sampling=SamplingParams(seed=10, ignore_eos=True, **sampling))


@pytest.fixture
def all_blocks_are_free(engine, until):
    async def check():
        await until(lambda: not engine.scheduler.has_work)
        engine.scheduler.check_integrity()
        return engine.scheduler.blocks.num_free_blocks == NUM_BLOCKS

    return check


async def test_a_sample_that_a_stop_string_ended_leaves_the_engine(stub, script, all_blocks_are_free):
    answer = [event async for event in stub.Generate(asking(n=3, stop=["."], max_tokens=300), timeout=60)]

    samples = answer[-1].finished.samples
    assert [sample.reason for sample in samples] == [FINISH_REASON_STOP_STRING, *[FINISH_REASON_LENGTH] * 2]
    assert [sample.completion_tokens for sample in samples] == [4, 300, 300]
    assert len(script.requests[10].output_ids) < 300, "it stopped decoding while the others went on"
    assert await all_blocks_are_free()


async def test_an_ended_sample_that_is_the_last_in_the_engine_ends_the_stream(
    intake, triton, script, until, all_blocks_are_free
):
    """The control comes late: the other sample is over by itself, and the ended one alone keeps the stream open."""
    work = intake.admit(asking(n=2, max_tokens=1000))
    parameters = EngineClient(triton, [1])._parameters(work, 60.0) | {"key": "k"}
    outputs = triton.stream("llama", {"INPUT_IDS": work.prompt.ids}, parameters, timeout_s=60)
    assert (await anext(outputs))["TOKEN_IDS"].size == 1
    await until(lambda: set(script.requests) == {10, 11})
    control = {"key": "k", "is_full": False, "ended_samples": "[0, 1]", "has_left": False}
    assert [response async for response in triton.stream("llama", {}, control, timeout_s=5)] == []

    num_before = {seed: len(request.output_ids) for seed, request in script.requests.items()}
    async with asyncio.timeout(30):
        late = [output async for output in outputs]
    assert not any("FINISH" in output for output in late), "no reason, and no error either"
    for seed, request in script.requests.items():
        assert len(request.output_ids) <= num_before[seed] + 1, "its slot is free within a step"
    assert await all_blocks_are_free()


async def test_a_front_that_dies_without_a_word_leaves_nothing_running(intake, triton, script, all_blocks_are_free):
    """Triton alone knows then that nobody reads, and is asked now and then."""
    work = intake.admit(asking(max_tokens=1900))
    parameters = EngineClient(triton, [1])._parameters(work, 60.0) | {"key": "k"}
    outputs = triton.stream("llama", {"INPUT_IDS": work.prompt.ids}, parameters, timeout_s=60)
    await anext(outputs)
    await outputs.aclose()
    assert await all_blocks_are_free()
    assert len(script.requests[10].output_ids) < 1900, "it was not decoded to its end"


async def test_a_client_that_stalls_lets_its_sequences_rest_until_it_reads_on(
    stub, engine, triton, script, until, all_blocks_are_free
):
    answer = aiter(stub.Generate(asking(max_tokens=1500), timeout=60))
    events = [await anext(answer)]
    await until(lambda: triton.controls)
    num_before, num_generated = -1, 0
    while num_generated != num_before:  # it may rest and go on more than once, until all that lies between is full
        await asyncio.sleep(0.2)
        num_before, num_generated = num_generated, len(script.requests[10].output_ids)
    assert num_generated < 1000, "what lies between engine and client is bounded"
    assert engine.scheduler.running[0].sink.is_full()

    events += [event async for event in answer]
    assert sum(len(event.chunk.token_ids) for event in events) == 1500
    assert events[-1].finished.samples[0].reason == FINISH_REASON_LENGTH
    assert await all_blocks_are_free()


async def test_an_engine_that_cannot_be_told_fails_no_answer(stub, triton, until):
    triton.failures = [InternalError("busy"), InternalError("busy")]
    answer = aiter(stub.Generate(asking(max_tokens=1500), timeout=60))
    events = [await anext(answer)]
    await until(lambda: len(triton.controls) > 2)
    events += [event async for event in answer]
    assert sum(len(event.chunk.token_ids) for event in events) == 1500


async def test_leaving_frees_every_sample(stub, all_blocks_are_free):
    call = stub.Generate(asking(max_tokens=1500, n=4), timeout=60)
    for _ in range(3):
        await call.read()
    call.cancel()
    assert await all_blocks_are_free()
