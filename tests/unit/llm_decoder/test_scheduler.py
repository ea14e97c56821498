"""The scheduler alone, with properties over random work: no tensors, no threads, no clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_decoder.block_manager import BlockManager
from llm_decoder.request import Priority
from llm_decoder.scheduler import Limits, Scheduler
from tests.fakes import request
from trichord.errors import ContextLengthError, OverloadedError

BLOCK = 4


def scheduler_of(num_blocks=256, max_running=2, max_waiting=16, step_tokens=9):
    limits = Limits(max_running=max_running, max_waiting=max_waiting, step_tokens=step_tokens)
    return Scheduler(BlockManager(num_blocks, BLOCK), limits)


def run_step(scheduler, now_s=0.0):
    """Computes a step as the engine would: each sequence that is complete gets a token, or leaves."""
    step = scheduler.schedule(now_s)
    yielding = [scheduled.request for scheduled in step if scheduled.yields_token]
    scheduler.computed(step)
    for sequence in yielding:
        if sequence.append(1, now_s) is not None:
            scheduler.remove(sequence)
    return step


works = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 8), st.sampled_from(Priority), st.integers(0, 30)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=1000, deadline=None)
@given(
    work=works,
    num_blocks=st.integers(17, 60),
    max_running=st.integers(1, 5),
    spare=st.integers(1, 20),
    cancels=st.sets(st.integers(0, 40)),
)
def test_every_sequence_ends_within_budget_and_bounds(work, num_blocks, max_running, spare, cancels):
    step_tokens = max_running + spare
    scheduler = scheduler_of(num_blocks, max_running, step_tokens=step_tokens)
    arrivals = {}
    for number, (prompt, answer, priority, arrival) in enumerate(work):
        sequence = request([number % 3] * prompt, max_tokens=answer)
        sequence.priority, sequence.arrival_s = priority, float(arrival)
        arrivals.setdefault(arrival, []).append(sequence)
    for number in range(4000):
        for sequence in arrivals.pop(number, ()):
            scheduler.add(sequence)
        if not arrivals and not scheduler.has_work:
            break
        if not scheduler.has_work:
            continue
        step = run_step(scheduler, float(number))
        assert 0 < sum(scheduled.num_tokens for scheduled in step) <= step_tokens
        assert len(scheduler.running) <= max_running
        assert len({id(scheduled.request) for scheduled in step}) == len(step)
        scheduler.check_integrity()
        if number in cancels and scheduler.has_work:
            scheduler.remove(next(scheduler.sequences()))
    assert not scheduler.has_work, "a sequence never ended"
    assert scheduler.blocks.num_free_blocks == num_blocks


@settings(max_examples=300, deadline=None)
@given(prompts=st.lists(st.integers(1, 60), min_size=1, max_size=8), spare=st.integers(1, 20))
def test_a_decoding_stream_is_never_stalled_by_a_prompt(prompts, spare):
    scheduler = scheduler_of(max_running=8, step_tokens=8 + spare)
    for length in prompts:
        scheduler.add(request([0] * length, max_tokens=8))
    while scheduler.has_work:
        decoding = {id(sequence) for sequence in scheduler.running if sequence.is_decoding}
        assert decoding <= {id(scheduled.request) for scheduled in run_step(scheduler)}


def test_sequences_start_in_order_of_arrival():
    scheduler = scheduler_of()
    sequences = [request([0] * 3, max_tokens=2) for _ in range(5)]
    for number, sequence in enumerate(sequences):
        sequence.arrival_s = float(number)
        scheduler.add(sequence)
    started = []
    while scheduler.has_work:
        started += [s.request for s in run_step(scheduler) if s.request not in started]
    assert started == sequences


def test_a_long_prompt_is_cut_into_what_the_budget_leaves():
    scheduler = scheduler_of(step_tokens=10)
    scheduler.add(request([0] * 4, max_tokens=50))
    run_step(scheduler)
    late = request([1] * 25, max_tokens=1)
    late.arrival_s = 1.0
    scheduler.add(late)
    assert [[s.num_tokens for s in run_step(scheduler)] for _ in range(4)] == [[1, 9], [1, 9], [1, 7], [1]]


def test_one_long_prompt_is_spread_thin_and_many_prompts_are_not_held_up_by_one_stream():
    scheduler = Scheduler(
        BlockManager(256, BLOCK), Limits(max_running=8, max_waiting=16, step_tokens=100, prompt_share=6)
    )

    def add(count, length):
        for _ in range(count):
            scheduler.add(request([length] * length, max_tokens=50))

    add(3, 4)
    assert [s.num_tokens for s in run_step(scheduler)] == [4, 4, 4], "nothing decodes yet: the whole step is theirs"
    add(1, 20)
    assert [s.num_tokens for s in run_step(scheduler)] == [1, 1, 1, 6]
    add(4, 9)
    assert sum(s.num_tokens for s in run_step(scheduler)) == 3 + 6 * 2, "five prompts beside three streams"


def test_sequences_that_rest_do_not_enlarge_the_prompts_share():
    scheduler = Scheduler(
        BlockManager(256, BLOCK), Limits(max_running=8, max_waiting=16, step_tokens=100, prompt_share=6)
    )
    streams = [request([number] * 4, max_tokens=50) for number in range(4)]
    for stream in streams:
        scheduler.add(stream)
    run_step(scheduler)
    for stream in streams[1:]:
        stream.sink.full = True
    long = request([9] * 40, max_tokens=1)
    scheduler.add(long)
    assert run_step(scheduler) == [(streams[0], 1), (long, 6)], "one prompt beside one stream that is read"


def test_a_sequence_that_rests_gives_its_place_to_one_that_is_read():
    scheduler = scheduler_of(max_running=1)
    stalled, fresh = request([0] * 3, max_tokens=4), request([1] * 3, max_tokens=1)
    scheduler.add(stalled)
    run_step(scheduler)
    stalled.sink.full = True
    scheduler.add(fresh)
    assert run_step(scheduler) == [(fresh, 3)]
    assert run_step(scheduler) == [], "nobody else wants its place, and it does not want it either"

    stalled.sink.full = False
    while scheduler.has_work:
        assert run_step(scheduler)
    assert len(stalled.output_ids) == 4


def test_a_sequence_that_rests_and_waits_does_not_block_the_queue():
    scheduler = scheduler_of(num_blocks=12, max_running=3)
    running, stalled, small = request([0] * 12, max_tokens=8), request([1] * 36, max_tokens=8), request([2] * 3)
    scheduler.add(running)
    run_step(scheduler)
    stalled.sink.full = True
    scheduler.add(stalled)  # its blocks lack; whoever waits for blocks is not overtaken, unless nobody reads it
    scheduler.add(small)
    assert small in {scheduled.request for scheduled in run_step(scheduler)}


@settings(max_examples=500)
@given(
    work=works,
    num_blocks=st.integers(17, 60),
    max_running=st.integers(1, 5),
    flips=st.lists(st.sets(st.integers(0, 11), max_size=3), max_size=40),
)
def test_sequences_that_rest_take_no_part_and_hold_nobody_up(work, num_blocks, max_running, flips):
    scheduler = scheduler_of(num_blocks, max_running, step_tokens=max_running + 4)
    sequences = [request([number % 3] * prompt, max_tokens=answer) for number, (prompt, answer, *_) in enumerate(work)]
    for sequence in sequences:
        scheduler.add(sequence)
    for number, flipped in enumerate(flips):
        for index in flipped & {*range(len(sequences))}:
            sequences[index].sink.full = not sequences[index].sink.full
        step = run_step(scheduler, float(number))
        assert not any(scheduled.request.sink.full for scheduled in step)
        assert step or all(sequence.sink.full for sequence in scheduler.sequences())
        scheduler.check_integrity()
    for sequence in sequences:
        sequence.sink.full = False
    while scheduler.has_work:
        assert run_step(scheduler)
    assert all(len(sequence.output_ids) == sequence.sampling.max_tokens for sequence in sequences)
    assert scheduler.blocks.num_free_blocks == num_blocks


def test_live_goes_before_batch_until_batch_is_old():
    scheduler = scheduler_of(max_running=1)
    batch, live = request([0] * 3, max_tokens=1), request([1] * 3, max_tokens=1)
    batch.priority, batch.arrival_s, live.arrival_s = Priority.BATCH, 0.0, 5.0
    for sequence in (batch, live):
        scheduler.add(sequence)
    assert run_step(scheduler, 5.0)[0].request is live

    fresh = request([2] * 3, max_tokens=1)
    fresh.arrival_s = 11.0
    scheduler.add(fresh)
    assert run_step(scheduler, 11.0)[0].request is batch, "ten seconds of waiting make up for one level"


def test_the_last_in_rank_gives_its_blocks_to_the_first():
    scheduler = scheduler_of(num_blocks=6, max_running=2, step_tokens=20)
    first, second = request([0] * 8, max_tokens=10), request([1] * 8, max_tokens=10)
    second.arrival_s = 1.0
    for sequence in (first, second):
        scheduler.add(sequence)
    while scheduler.has_work:
        run_step(scheduler)
        scheduler.check_integrity()
    assert first.num_preemptions == 0
    assert second.num_preemptions > 0
    assert len(first.output_ids) == len(second.output_ids) == 10


def test_a_full_queue_refuses_and_says_when_to_come_back():
    scheduler = scheduler_of(max_waiting=1)
    scheduler.add(request([0]))
    with pytest.raises(OverloadedError) as refusal:
        scheduler.add(request([0]))
    assert refusal.value.retry_after_s


def test_what_can_never_fit_the_cache_is_refused():
    with pytest.raises(ContextLengthError, match="fit the cache"):
        scheduler_of(num_blocks=4).add(request([0] * 10, max_tokens=10))
