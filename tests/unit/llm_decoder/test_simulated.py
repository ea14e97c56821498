"""The simulated decoder: the real engine around a wait, answers that are seeded and say what they are."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.babble import OPENING, Babble
from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.loading import EngineSettings
from llm_decoder.request import Finish, Span
from llm_decoder.scheduler import Limits, Scheduled, Scheduler
from llm_decoder.simulated import SimulatedRunner, SimulatedSampler, load_engine, load_of
from llm_decoder.triton_request import TritonRequests
from llm_decoder.vocabulary import Vocabulary
from tests.fakes import LLM, CollectingSink, request
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.tokenizer import byte_level_bpe, bytes_tokenizer
from trichord.settings import ModelSettings
from trichord.simulation.checkpoint import write_weightless
from trichord.simulation.latency import DecoderLatency, StepLoad

LATENCY = DecoderLatency(
    step_ms=1, weights_ms=0, prompt_token_ms=0.5, prompt_pair_ns=1e3, sequence_ms=2, context_token_us=10
)
STOP = 5
BABBLE = Babble(Vocabulary(bytes_tokenizer(["<|end|>"])), 257)
CONFIG = LLM.model_copy(update={"vocab_size": 257, "max_position_embeddings": 1024})


class Engines:
    """Starts simulated engines that wait by noting it, and closes them."""

    def __init__(self):
        self.waits = []
        self._engines = []

    def start(self, mean_answer_tokens=20, num_blocks=256, max_running=4, step_tokens=16):
        limits = Limits(max_running=max_running, max_waiting=1000, step_tokens=step_tokens, ageing_s=0.05)
        runner = SimulatedRunner(CONFIG, LATENCY, self.waits.append)
        sampler = SimulatedSampler(BABBLE, mean_answer_tokens)
        self._engines.append(Engine(runner, Scheduler(BlockManager(num_blocks, 4), limits), sampler))
        return self._engines[-1]

    def close(self):
        for engine in self._engines:
            engine.close()


@pytest.fixture
def engines():
    started = Engines()
    yield started
    started.close()


def answers(engine, requests):
    """Tokens of each, all of them in one engine."""
    for one in requests:
        engine.submit(one)
    for one in requests:
        assert one.sink.done.wait(60), "the engine did not finish a sequence"
    return [one.sink.token_ids for one in requests]


def text(token_ids, vocabulary):
    return b"".join(vocabulary.token_bytes(token_id) for token_id in token_ids).decode()


CHUNKS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=12)


@given(CHUNKS)
def test_the_work_of_a_step_is_counted_position_by_position(chunks):
    prompts = pairs = sequences = context = 0
    step = []
    for num_computed, num_tokens in chunks:
        scheduled = request(range(100))
        scheduled.num_computed_tokens = num_computed
        step.append(Scheduled(scheduled, num_tokens))
        seen = [position + 1 for position in range(num_computed, num_computed + num_tokens)]
        if num_tokens > 1:
            prompts, pairs = prompts + len(seen), pairs + sum(seen)
        else:
            sequences, context = sequences + 1, context + sum(seen)
    assert load_of(step) == StepLoad(prompts, pairs, sequences, context)


def test_every_step_is_one_wait_as_long_as_its_work(engines):
    answers(engines.start(), [request([1] * 40, max_tokens=3)])
    prompts = [StepLoad(16, 136), StepLoad(16, 392), StepLoad(8, 292)]
    decodes = [StepLoad(0, 0, 1, 41), StepLoad(0, 0, 1, 42)]
    assert engines.waits == [LATENCY.step_s(load) for load in (*prompts, *decodes)]


def test_sequences_share_steps(engines):
    engine = engines.start(max_running=8, step_tokens=9)
    answers(engine, [request([n], max_tokens=30, ignore_eos=True) for n in range(8)])
    assert len(engines.waits) < 2 * 30, "eight sequences of 30 tokens take little more steps than one"


def test_an_answer_says_that_it_is_simulated(engines):
    (token_ids,) = answers(engines.start(), [request([1, 2, 3], max_tokens=60, ignore_eos=True)])
    vocabulary = Vocabulary(bytes_tokenizer(["<|end|>"]))
    assert re.fullmatch(r"\[simulated\][a-z ]{49}", text(token_ids, vocabulary))


def test_where_a_vocabulary_has_words_an_answer_is_made_of_them():
    tokens = [*(chr(code) for code in range(33, 127)), "Ġ", "Ġt", "Ġto", "Ġh", "Ġhe", "Ġ1"]
    merges = [("Ġ", "t"), ("Ġt", "o"), ("Ġ", "h"), ("Ġh", "e")]
    vocabulary = Vocabulary(byte_level_bpe({t: i for i, t in enumerate(tokens)}, merges, [], split_digits=False))
    babble = Babble(vocabulary, len(tokens))
    drawn = [babble.token_id(index, draw=index * 7919) for index in range(60)]
    assert re.fullmatch(r"\[simulated\]( t| to| h| he){49}", text(drawn, vocabulary))
    assert len(babble.opening_ids) == len(OPENING)


REQUESTS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 3), st.sampled_from([0.0, 0.8]), st.integers(1, 40)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40)
@given(wishes=REQUESTS, num_blocks=st.sampled_from([20, 256]), step_tokens=st.sampled_from([5, 16]))
def test_a_stream_is_what_it_would_be_alone(wishes, num_blocks, step_tokens):
    def asked(length, seed, temperature, max_tokens):
        return request(range(length), seed=seed, temperature=temperature, max_tokens=max_tokens, stop_token_ids=(STOP,))

    engines = Engines()
    together = answers(engines.start(num_blocks=num_blocks, step_tokens=step_tokens), [asked(*wish) for wish in wishes])
    alone = engines.start()
    assert together == [answers(alone, [asked(*wish)])[0] for wish in wishes]
    engines.close()


def test_prompt_media_and_seed_matter_and_greedy_has_no_seed(engines):
    def asked(prompt=(1, 2), identity="", **changes):
        one = request(prompt, max_tokens=40, ignore_eos=True, **changes)
        one.media_rows, one.spans = torch.zeros(1, CONFIG.hidden_size), [Span(0, 1, identity)]
        return one

    others = [asked((1, 3)), asked(identity="a"), asked(identity="b")]
    drawn = [asked(temperature=0.8, seed=seed) for seed in (1, 2)]
    greedy, seeded, *different = answers(engines.start(), [asked(), asked(seed=9), *others, *drawn])
    assert greedy == seeded
    assert len({tuple(token_ids) for token_ids in (greedy, *different)}) == 6


def test_answers_are_as_long_as_the_profile_says_on_average(engines):
    wishes = [request([n // 250, n % 250], max_tokens=900, stop_token_ids=(STOP,)) for n in range(400)]
    lengths = [len(token_ids) for token_ids in answers(engines.start(mean_answer_tokens=30, max_running=15), wishes)]
    assert {one.sink.reason for one in wishes} == {Finish.END_OF_TURN}
    assert sum(lengths) / len(lengths) == pytest.approx(len(OPENING) + 30, rel=0.15)
    assert len(set(lengths)) > 40, "lengths vary"


@pytest.mark.parametrize(
    ("changes", "length", "reason"),
    [
        pytest.param({"stop_token_ids": (STOP,)}, len(OPENING) + 1, Finish.END_OF_TURN, id="ends behind its opening"),
        pytest.param({"stop_token_ids": (STOP,), "min_tokens": 30}, 31, Finish.END_OF_TURN, id="not before it may"),
        pytest.param({"stop_token_ids": (STOP,), "ignore_eos": True}, 50, Finish.LENGTH, id="never, if that is wished"),
        pytest.param({}, 50, Finish.LENGTH, id="nor if there is no stop token"),
        pytest.param({"stop_token_ids": (STOP,), "max_tokens": 3}, 3, Finish.LENGTH, id="cut short"),
    ],
)
def test_what_ends_an_answer(engines, changes, length, reason):
    one = request([1], **{"max_tokens": 50, **changes})
    (token_ids,) = answers(engines.start(mean_answer_tokens=1), [one])
    assert (len(token_ids), one.sink.reason) == (length, reason)


def test_a_mask_of_allowed_tokens_holds(engines):
    allowed = torch.zeros(257, dtype=torch.bool)
    allowed[[7, 99, 200]] = True
    one = request([1], max_tokens=40)
    one.allowed_tokens = lambda output_ids: allowed
    (token_ids,) = answers(engines.start(), [one])
    assert set(token_ids) == {7, 99, 200}


@pytest.mark.parametrize("num_rivals", [0, 3, 20])
def test_log_probabilities_are_told_of_the_token_and_as_many_rivals(engines, num_rivals):
    one = request([1], max_tokens=30, logprobs=num_rivals)
    (token_ids,) = answers(engines.start(), [one])
    assert [next(iter(row)) for row in one.sink.logprobs] == token_ids
    for row in one.sink.logprobs:
        assert len(row) == num_rivals + 1
        assert list(row.values()) == sorted(row.values(), reverse=True)
        assert sum(2.718281828459045**value for value in row.values()) < 1


def test_an_engine_starts_without_weights_and_without_a_cache(tmp_path):
    write_weightless(PRESETS["megrez-3b-omni"], tmp_path)
    engine = load_engine(
        ModelSettings(checkpoint=tmp_path, backend="simulated"), EngineSettings(kv_cache_bytes=1 << 36)
    )
    try:
        assert engine.scheduler.blocks.num_blocks == (1 << 36) // (81_920 * 16), "80 KiB a token, 16 tokens a block"
        one = request([1, 2, 3], max_tokens=2)
        answers(engine, [one])
        assert one.sink.reason == Finish.LENGTH
    finally:
        engine.close()


class Responses:
    """What the model sends to Triton."""

    def __init__(self):
        self.sent = []

    def send(self, response=None, flags=0):
        self.sent.append((response, flags))


PB_UTILS = SimpleNamespace(
    TritonError=str,
    InferenceResponse=lambda output_tensors, error: error,
    TRITONSERVER_RESPONSE_COMPLETE_FINAL=1,
)


@pytest.mark.parametrize(("told", "runs"), [("torch", "simulated"), ("simulated", "torch")])
def test_a_model_refuses_a_front_that_was_told_of_another_backend(engines, told, runs):
    responses = Responses()
    parameters = json.dumps({"key": "k", "backend": told})
    asked = SimpleNamespace(parameters=lambda: parameters, get_response_sender=lambda: responses, inputs=list)
    requests = TritonRequests(PB_UTILS, engines.start(), runs, max_hold_ms=0, grammars=None)
    requests.take(asked)
    requests.close()
    ((error, flags),) = responses.sent
    assert told in error
    assert flags == 1
    assert engines.waits == []


def test_the_sink_of_a_cancelled_stream_ends(engines):
    sink = CollectingSink(cancel_after=5)
    answers(engines.start(), [request([1], sink, max_tokens=500, ignore_eos=True)])
    assert 5 <= len(sink.token_ids) <= 6
    assert sink.failure
