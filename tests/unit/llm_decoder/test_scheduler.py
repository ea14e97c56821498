"""The scheduler alone, with properties over random work: no tensors, no threads, no clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_decoder.scheduler import Scheduler

from tests.fakes import request
from trichord.errors import OverloadedError


def run_step(scheduler):
    """Computes a step as the engine would: each sequence that is complete gets a token, or leaves."""
    step = scheduler.schedule(0.0)
    yielding = [scheduled.request for scheduled in step if scheduled.yields_token]
    for scheduled in step:
        scheduled.request.num_computed_tokens += scheduled.num_tokens
    for sequence in yielding:
        if sequence.append(1, 0.0) is not None:
            scheduler.remove(sequence)
    return step


works = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 8)), min_size=1, max_size=12)


@settings(max_examples=1000, deadline=None)
@given(work=works, num_slots=st.integers(1, 5), spare=st.integers(1, 20), cancels=st.sets(st.integers(0, 11)))
def test_every_sequence_ends_within_budget_and_bounds(work, num_slots, spare, cancels):
    step_tokens = num_slots + spare
    scheduler = Scheduler(num_slots=num_slots, max_waiting=12, step_tokens=step_tokens)
    sequences = [request([0] * prompt, max_tokens=answer) for prompt, answer in work]
    for sequence in sequences:
        scheduler.add(sequence)
    for number in range(1000):
        if not scheduler.has_work:
            break
        decoding = {id(sequence) for sequence in scheduler.running if sequence.is_decoding}
        step = run_step(scheduler)
        assert 0 < sum(scheduled.num_tokens for scheduled in step) <= step_tokens
        assert len(step) <= num_slots
        assert decoding <= {id(scheduled.request) for scheduled in step}, "a decoding stream was stalled"
        scheduler.check_integrity()
        if number in cancels and scheduler.has_work:
            scheduler.remove(next(scheduler.sequences()))
    assert not scheduler.has_work, "a sequence never ended"
    assert len(scheduler.free_slots) == num_slots
    if not cancels:
        assert [len(sequence.output_ids) for sequence in sequences] == [answer for _, answer in work]


def test_sequences_start_in_order_of_arrival():
    scheduler = Scheduler(num_slots=2, max_waiting=9, step_tokens=9)
    sequences = [request([0] * 3, max_tokens=2) for _ in range(5)]
    for sequence in sequences:
        scheduler.add(sequence)
    started = []
    while scheduler.has_work:
        started += [s.request for s in run_step(scheduler) if s.request not in started]
    assert started == sequences


def test_a_long_prompt_is_cut_into_what_the_budget_leaves():
    scheduler = Scheduler(num_slots=2, max_waiting=2, step_tokens=10)
    scheduler.add(request([0] * 4, max_tokens=50))
    run_step(scheduler)
    scheduler.add(request([0] * 25, max_tokens=1))
    assert [[s.num_tokens for s in run_step(scheduler)] for _ in range(4)] == [[1, 9], [1, 9], [1, 7], [1]]


def test_a_full_queue_refuses_and_says_when_to_come_back():
    scheduler = Scheduler(num_slots=1, max_waiting=1, step_tokens=4)
    scheduler.add(request([0]))
    with pytest.raises(OverloadedError) as refusal:
        scheduler.add(request([0]))
    assert refusal.value.retry_after_s
