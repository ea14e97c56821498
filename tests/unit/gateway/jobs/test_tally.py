from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs.tally import Tally, job_ended, job_now
from tests.unit.gateway.jobs.jobs_lab import CANCELLED, COMPLETED, EXPIRED, FAILED, result
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

TOTAL = 9
ENDS = st.lists(
    st.tuples(st.integers(0, TOTAL - 1), st.sampled_from([COMPLETED, FAILED, CANCELLED, EXPIRED])), max_size=30
)


@given(ends=ENDS)
def test_the_first_end_of_each_item_counts(ends: list[tuple[int, jobs_pb2.ItemState]]) -> None:
    tally = Tally(TOTAL)
    first: dict[int, jobs_pb2.ItemState] = {}
    for index, state in ends:
        tally.add([result(index, state)])
        first.setdefault(index, state)
    states = list(first.values())
    expected = [states.count(state) for state in (COMPLETED, FAILED, CANCELLED, EXPIRED)]
    counts = tally.counts()
    assert [counts.completed, counts.failed, counts.cancelled, counts.expired] == expected
    assert counts.total - sum(expected) == tally.num_pending == len(list(tally.pending()))
    assert sorted(first) == list(tally.ended())
    assert not set(first) & set(tally.pending())
    done = [index for index, state in first.items() if state == COMPLETED]
    assert tally.usage == gateway_pb2.Usage(
        completion_tokens=3 * len(done),
        audio_seconds=0.5 * len(done),
        prompt_tokens=decoder_pb2.PromptTokens(text=5 * len(done), image=sum(done)) if done else None,
    )


def test_states_of_a_job() -> None:
    record = jobs_pb2.JobRecord(job=jobs_pb2.Job(id="j", state=jobs_pb2.JOB_STATE_QUEUED))
    record.job.counts.total = 2
    tally = Tally(2)
    assert job_now(record, tally, is_cancelled=False).state == jobs_pb2.JOB_STATE_QUEUED
    tally.add([result(1, FAILED)])
    assert job_now(record, tally, is_cancelled=False).state == jobs_pb2.JOB_STATE_RUNNING
    assert job_now(record, tally, is_cancelled=True).state == jobs_pb2.JOB_STATE_CANCELLING
    tally.add([result(0)])
    assert job_ended(record, tally).state == jobs_pb2.JOB_STATE_COMPLETED
    assert record.job.state == jobs_pb2.JOB_STATE_QUEUED, "what was taken stays as it was"


def test_how_a_job_ended_is_told_by_its_items() -> None:
    record = jobs_pb2.JobRecord(job=jobs_pb2.Job(id="j", state=jobs_pb2.JOB_STATE_QUEUED))
    ends = {(COMPLETED, EXPIRED): "EXPIRED", (EXPIRED, CANCELLED): "CANCELLED", (FAILED, FAILED): "COMPLETED"}
    for states, told in ends.items():
        tally = Tally(2)
        tally.add(result(index, state) for index, state in enumerate(states))
        assert job_ended(record, tally).state == jobs_pb2.JobState.Value(f"JOB_STATE_{told}")
