"""The engine against the naive loop: whatever else is in the batch, every stream is what it would be alone."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.block_manager import BlockManager
from llm_decoder.engine import Engine
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.model_runner import ModelRunner
from llm_decoder.request import Finish, Priority, Request, Span
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import LLM, CollectingSink, random_llama, request, sampling

MODEL = random_llama()
STOP = 5


def naive_greedy(prompt_ids, max_tokens, stop_token_ids=frozenset(), media=(), guess=()):
    """Greedy tokens by recomputing the whole sequence for each: no cache, no batch, no chunks.

    As many as ``guess`` has right are computed at once. What it has wrong costs time and changes nothing.
    """
    answer, rows_of = [], dict(media)
    while len(answer) < max_tokens:
        ahead = guess[len(answer) : max_tokens - 1] if guess[: len(answer)] == answer else []
        ids = [*prompt_ids, *answer, *ahead]
        x = MODEL.embed(torch.tensor(ids))
        for position, row in rows_of.items():
            x[position] = row
        hidden = MODEL(x, torch.arange(len(ids)), _attend_to_everything_before)
        following = MODEL.logits(hidden[len(prompt_ids) + len(answer) - 1 :]).argmax(-1).tolist()
        for token_id, guessed in zip(following, [*ahead, None], strict=True):
            answer.append(token_id)
            if token_id in stop_token_ids:
                return answer
            if token_id != guessed:
                break
    return answer


def _attend_to_everything_before(layer, q_NHd, k_NKd, v_NKd):
    group = q_NHd.shape[1] // k_NKd.shape[1]
    k_NHd, v_NHd = k_NKd.repeat_interleave(group, 1), v_NKd.repeat_interleave(group, 1)
    score_HNN = torch.einsum("nhd,mhd->hnm", q_NHd, k_NHd) * q_NHd.shape[2] ** -0.5
    later = torch.ones(len(q_NHd), len(q_NHd), dtype=torch.bool).triu(1)
    return torch.einsum("hnm,mhd->nhd", score_HNN.masked_fill(later, -torch.inf).softmax(-1), v_NHd)


BLOCK = 4


def engine_of(num_blocks=128, max_running=3, max_waiting=64, step_tokens=8):
    cache = KvCache(LLM, num_blocks, BLOCK, torch.float32, "cpu")
    limits = Limits(max_running=max_running, max_waiting=max_waiting, step_tokens=step_tokens, ageing_s=0.05)
    return Engine(
        ModelRunner(MODEL, TorchForward(MODEL, cache), BLOCK), Scheduler(BlockManager(num_blocks, BLOCK), limits)
    )


@pytest.fixture
def start_engine():
    engines = []

    def start(**changes):
        engines.append(engine_of(**changes))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def wait(sinks, seconds=60):
    for sink in sinks:
        assert sink.done.wait(seconds), "the engine did not finish a sequence"


def wait_until_idle(engine):
    deadline = time.monotonic() + 60
    while engine.scheduler.has_work and time.monotonic() < deadline:
        time.sleep(0.001)
    engine.scheduler.check_integrity()
    blocks = engine.scheduler.blocks
    assert blocks.num_free_blocks == blocks.num_blocks


# Few different tokens, so that prompts share prefixes; few blocks, so that sequences are preempted.
prompts = st.lists(st.integers(0, 2), min_size=1, max_size=40)
arrival = st.tuples(prompts, st.integers(1, 20), st.none() | st.integers(0, 6), st.sampled_from(Priority))


@settings(max_examples=150, deadline=None)
@given(
    arrivals=st.lists(arrival, min_size=1, max_size=12),
    num_blocks=st.integers(15, 30),
    max_running=st.integers(1, 6),
    step_tokens=st.integers(7, 50),
)
def test_every_greedy_stream_equals_the_naive_loop(arrivals, num_blocks, max_running, step_tokens):
    engine = engine_of(num_blocks, max_running, step_tokens=step_tokens)
    sinks = [CollectingSink(cancel_after) for _, _, cancel_after, _ in arrivals]
    for (prompt, max_tokens, _, priority), sink in zip(arrivals, sinks, strict=True):
        arriving = request(prompt, sink, max_tokens=max_tokens, stop_token_ids=[STOP])
        arriving.priority, arriving.arrival_s = priority, time.monotonic()
        engine.submit(arriving)
    wait(sinks)
    wait_until_idle(engine)
    engine.close()

    for (prompt, max_tokens, _, _), sink in zip(arrivals, sinks, strict=True):
        expected = naive_greedy(prompt, max_tokens, {STOP}, guess=sink.token_ids)
        assert sink.token_ids == expected[: len(sink.token_ids)]
        if sink.failure is None:
            assert sink.token_ids == expected
            assert sink.reason == (Finish.END_OF_TURN if expected[-1] == STOP else Finish.LENGTH)


def test_media_rows_stand_where_their_spans_say(start_engine):
    rows = torch.randn(6, LLM.hidden_size, generator=torch.Generator().manual_seed(3))
    prompt = list(range(1, 21))
    spans = [Span(2, 4), Span(11, 2)]
    sink = CollectingSink()
    start_engine(step_tokens=5).submit(
        Request(prompt, sampling(max_tokens=12), frozenset(), sink, 0.0, media_rows=rows, spans=spans)
    )
    wait([sink])

    media = list(zip([2, 3, 4, 5, 11, 12], rows, strict=True))
    assert sink.token_ids == naive_greedy(prompt, 12, media=media)
    assert sink.token_ids != naive_greedy(prompt, 12), "the rows must matter"


def test_a_seeded_stream_is_the_same_alone_and_in_company(start_engine):
    def draw(engine, company):
        sinks = [CollectingSink() for _ in range(company + 1)]
        for i, sink in enumerate(sinks):
            changes = {"seed": 7} if i == 0 else {"seed": 100 + i, "top_k": 5}
            engine.submit(request([3, 1, 4, 1, 5], sink, temperature=1.5, top_p=0.95, max_tokens=20, **changes))
        wait(sinks)
        return [sink.token_ids for sink in sinks]

    alone = draw(start_engine(), 0)[0]
    in_company = draw(start_engine(max_running=4, step_tokens=16), 7)
    assert in_company[0] == alone
    assert len({tuple(ids) for ids in in_company}) > 4, "different seeds draw different texts"


seeded = st.tuples(prompts, st.integers(1, 12), st.integers(0, 3), st.sampled_from([0.7, 1.5]))


@settings(max_examples=40, deadline=None)
@given(arrivals=st.lists(seeded, min_size=1, max_size=8), num_blocks=st.integers(15, 30), max_running=st.integers(1, 6))
def test_every_seeded_stream_equals_its_solo_run(arrivals, num_blocks, max_running):
    def draw(engine, arrivals):
        sinks = [CollectingSink() for _ in arrivals]
        for (prompt, max_tokens, seed, temperature), sink in zip(arrivals, sinks, strict=True):
            engine.submit(request(prompt, sink, max_tokens=max_tokens, seed=seed, temperature=temperature, top_p=0.9))
        wait(sinks)
        engine.close()
        return [sink.token_ids for sink in sinks]

    together = draw(engine_of(num_blocks, max_running, step_tokens=max_running + 5), arrivals)
    assert together == [draw(engine_of(), [arrival])[0] for arrival in arrivals]


def test_min_tokens_puts_off_the_end_and_ignore_eos_ignores_it(start_engine):
    engine = start_engine()
    prompt = next(p for p in ([i, i + 1] for i in range(90)) if len(naive_greedy(p, 12)) == 12)
    stop = naive_greedy(prompt, 12)[1]
    sinks = [CollectingSink() for _ in range(3)]
    for sink, changes in zip(sinks, [{}, {"min_tokens": 6}, {"ignore_eos": True}], strict=True):
        engine.submit(request(prompt, sink, max_tokens=12, stop_token_ids=[stop], **changes))
    wait(sinks)

    plain, at_least_six, ignoring = sinks
    assert plain.token_ids == naive_greedy(prompt, 12, {stop})
    assert len(at_least_six.token_ids) >= 6
    assert stop not in at_least_six.token_ids[:6]
    assert ignoring.token_ids == naive_greedy(prompt, 12)
    assert ignoring.reason == Finish.LENGTH


def test_a_failing_step_fails_its_sequences_and_no_others(start_engine, monkeypatch):
    engine = start_engine()
    step = engine.runner.step
    monkeypatch.setattr(engine.runner, "step", lambda scheduled: (_ for _ in ()).throw(RuntimeError("out of memory")))
    lost = CollectingSink()
    engine.submit(request([1, 2, 3], lost))
    wait([lost])
    assert lost.failure is not None
    assert "memory" not in lost.failure

    monkeypatch.setattr(engine.runner, "step", step)
    served = CollectingSink()
    engine.submit(request([1, 2, 3], served))
    wait([served])
    assert served.token_ids == naive_greedy([1, 2, 3], 16)
    wait_until_idle(engine)


@pytest.mark.parametrize(
    ("prompt", "spans", "rows"),
    [
        pytest.param([], (), None, id="no prompt"),
        pytest.param([1] * 120, (), None, id="over the context"),
        pytest.param([97], (), None, id="unknown token"),
        pytest.param([-1], (), None, id="negative token"),
        pytest.param([1, 2], [Span(1, 2)], torch.zeros(2, LLM.hidden_size), id="span past the end"),
        pytest.param([1, 2], [Span(0, 1)], torch.zeros(2, LLM.hidden_size), id="rows left over"),
        pytest.param([1, 2], [Span(0, 1)], torch.zeros(1, 3), id="narrow rows"),
    ],
)
def test_what_cannot_be_computed_is_refused_and_harms_nobody(start_engine, prompt, spans, rows):
    engine = start_engine()
    refused, served = CollectingSink(), CollectingSink()
    engine.submit(Request(prompt, sampling(), frozenset(), refused, 0.0, media_rows=rows, spans=spans))
    engine.submit(request([4, 2], served))
    wait([refused, served])

    assert refused.failure
    assert not refused.token_ids
    assert served.token_ids == naive_greedy([4, 2], 16)


def test_more_waiting_than_the_bound_is_refused_at_once(start_engine):
    engine = start_engine(max_running=1, max_waiting=2)
    sinks = [CollectingSink() for _ in range(12)]
    for sink in sinks:
        engine.submit(request([1, 2, 3], sink, max_tokens=60))
    wait(sinks)

    refused = [sink for sink in sinks if sink.failure]
    assert refused
    assert all("wait already" in sink.failure for sink in refused)
    assert all(len(sink.token_ids) == 60 for sink in sinks if sink not in refused)


def test_two_hundred_requests_with_random_cancels_leave_every_block_free(start_engine):
    engine = start_engine(max_running=32, max_waiting=256, step_tokens=64)
    generator = torch.Generator().manual_seed(4)
    cancels = torch.randint(0, 12, (200,), generator=generator).tolist()
    sinks = [CollectingSink(cancel if cancel % 3 == 0 else None) for cancel in cancels]
    for i, sink in enumerate(sinks):
        engine.submit(request([i % 90, 2, 3], sink, max_tokens=10))
    wait(sinks)
    wait_until_idle(engine)

    assert sum(sink.failure is not None for sink in sinks) > 30
    assert all(sink.failure or len(sink.token_ids) == 10 for sink in sinks)


def test_closing_answers_everyone(start_engine):
    engine = start_engine(max_running=1)
    sinks = [CollectingSink() for _ in range(3)]
    for sink in sinks:
        engine.submit(request([1], sink, max_tokens=120))
    engine.close()
    assert all(sink.done.is_set() for sink in sinks)


def test_preemption_and_prefix_hits_change_no_token(start_engine):
    engine = start_engine(num_blocks=24, max_running=6, step_tokens=16)
    shared = [1, 2, 3, 4, 5, 6, 7, 8, 9]
    prompts = [[*shared, i] for i in range(10, 18)]
    sinks = [CollectingSink() for _ in prompts]
    requests = [request(prompt, sink, max_tokens=50) for prompt, sink in zip(prompts, sinks, strict=True)]
    for arriving in requests:
        engine.submit(arriving)
    wait(sinks)

    assert [sink.token_ids for sink in sinks] == [naive_greedy(prompt, 50) for prompt in prompts]
    assert sum(sink.timings.num_preemptions for sink in sinks) > 0
    assert sum(sink.timings.num_cached_tokens for sink in sinks) > 0


def serve(engine, prompt, **fields):
    sink = CollectingSink()
    arriving = request(prompt, sink, max_tokens=4)
    for name, value in fields.items():
        setattr(arriving, name, value)
    engine.submit(arriving)
    wait([sink])
    return sink


def test_a_tenant_finds_its_own_prefix_and_no_other(start_engine):
    engine = start_engine()
    prompt = list(range(1, 20))
    assert serve(engine, prompt, scope="a").timings.num_cached_tokens == 0
    assert serve(engine, prompt, scope="a").timings.num_cached_tokens == 16
    assert serve(engine, prompt, scope="b").timings.num_cached_tokens == 0


def test_two_images_under_the_same_text_never_share_a_block(start_engine):
    engine = start_engine()
    prompt = [1, 2, *[0] * 6, 3, 4, 5, 6, 7]
    generator = torch.Generator().manual_seed(8)
    cat, dog = (torch.randn(6, LLM.hidden_size, generator=generator) for _ in range(2))
    first = serve(engine, prompt, media_rows=cat, spans=[Span(2, 6, "cat")])
    other = serve(engine, prompt, media_rows=dog, spans=[Span(2, 6, "dog")])
    again = serve(engine, prompt, media_rows=cat, spans=[Span(2, 6, "cat")])

    assert other.timings.num_cached_tokens == 0
    assert again.timings.num_cached_tokens == 12
    assert again.token_ids == first.token_ids
    assert other.token_ids == naive_greedy(prompt, 4, media=zip(range(2, 8), dog, strict=True))


def test_samples_of_one_prompt_share_its_blocks(start_engine):
    engine = start_engine(max_running=4)
    prompt = list(range(1, 18))
    sinks = [CollectingSink() for _ in range(4)]
    leader = None
    for i, sink in enumerate(sinks):
        sample = request(prompt, sink, max_tokens=8, temperature=1.0, seed=i)
        sample.leader = leader
        leader = leader or sample
        engine.submit(sample)
    wait(sinks)
    assert [sink.timings.num_cached_tokens for sink in sinks] == [0, 16, 16, 16]


def test_a_late_answer_is_given_up(start_engine):
    late = serve(start_engine(), [1, 2, 3], deadline_s=time.monotonic() - 1)
    assert "deadline" in late.failure
    assert not late.token_ids


def test_a_full_reader_rests_and_the_others_go_on(start_engine):
    engine = start_engine()
    stalled, reading = CollectingSink(), CollectingSink()
    stalled.full = True
    for sink in (stalled, reading):
        engine.submit(request([4, 2], sink, max_tokens=30))
    wait([reading])
    assert not stalled.done.is_set()
    assert len(stalled.token_ids) < 2

    stalled.full = False
    wait([stalled])
    assert stalled.token_ids == reading.token_ids == naive_greedy([4, 2], 30)


def test_a_cancelled_sequence_leaves_before_the_next_step(start_engine):
    engine = start_engine()
    sink = CollectingSink(cancel_after=3)
    engine.submit(request([4, 2], sink, max_tokens=100))
    wait([sink])
    assert len(sink.token_ids) == 3


def test_live_requests_displace_batch_work(start_engine):
    engine = start_engine(max_running=1)
    batch, live = CollectingSink(), CollectingSink()
    background = request([1, 2], batch, max_tokens=110)
    background.priority, background.arrival_s = Priority.BATCH, time.monotonic() + 60  # never aged
    engine.submit(background)
    engine.submit(request([3, 4], live, max_tokens=5))
    wait([live])
    assert not batch.done.is_set()
    wait([batch])
    assert batch.token_ids == naive_greedy([1, 2], 110)
