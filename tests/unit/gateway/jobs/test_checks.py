from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf import timestamp_pb2

from gateway.jobs import checks
from tests.unit.gateway.jobs.jobs_lab import LIMITS, SETTINGS, job_item
from trichord.errors import RequestError
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
DAY_S = 24 * 3600
TEXT = gateway_pb2.Part(text="hi")


def at(seconds: int, nanos: int = 0) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=seconds, nanos=nanos)


def test_what_is_left_out_is_set() -> None:
    spec = checks.completed(jobs_pb2.JobSpec(), NOW, SETTINGS)
    assert spec.priority == jobs_pb2.JOB_PRIORITY_NORMAL
    assert spec.deadline.seconds == NOW_S + DAY_S
    assert spec.request_id.startswith("job-")
    assert spec.request_id != checks.completed(jobs_pb2.JobSpec(), NOW, SETTINGS).request_id


def test_what_is_given_stays() -> None:
    given = jobs_pb2.JobSpec(
        request_id="night 7", priority=jobs_pb2.JOB_PRIORITY_LOW, deadline=at(NOW_S + 1), metadata={"a": "b" * 512}
    )
    assert checks.completed(given, NOW, SETTINGS) == given


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (jobs_pb2.JobSpec(request_id="x" * 129), "spec.request_id"),
        (jobs_pb2.JobSpec(request_id="a\nb"), "spec.request_id"),
        (jobs_pb2.JobSpec(priority=9), "spec.priority"),  # type: ignore[arg-type]
        (jobs_pb2.JobSpec(deadline=at(NOW_S)), "spec.deadline"),
        (jobs_pb2.JobSpec(deadline=at(0)), "spec.deadline"),
        (jobs_pb2.JobSpec(deadline=at(NOW_S + 7 * DAY_S + 1)), "spec.deadline"),
        (jobs_pb2.JobSpec(deadline=at(1 << 62)), "spec.deadline"),
        (jobs_pb2.JobSpec(deadline=at(NOW_S + 9, nanos=-1)), "spec.deadline"),
        (jobs_pb2.JobSpec(metadata={str(i): "" for i in range(17)}), "spec.metadata"),
        (jobs_pb2.JobSpec(metadata={"k" * 65: ""}), "spec.metadata"),
        (jobs_pb2.JobSpec(metadata={"k": "v" * 513}), "spec.metadata"),
    ],
)
def test_a_spec_that_cannot_be(spec: jobs_pb2.JobSpec, field: str) -> None:
    with pytest.raises(RequestError) as refused:
        checks.completed(spec, NOW, SETTINGS)
    assert refused.value.field == field


def test_an_item_that_can_be() -> None:
    checks.check_item(job_item("é" * 128, TEXT, sampling=decoder_pb2.SamplingParams(max_tokens=1)), LIMITS)
    assert job_item("x", TEXT).request.messages


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (job_item("", TEXT), "custom_id"),
        (job_item("x" * 129, TEXT), "custom_id"),
        (job_item("a\0", TEXT), "custom_id"),
        (jobs_pb2.JobItem(custom_id="a"), "request.messages"),
        (job_item("a", *[TEXT] * 17), "request.messages"),
        (job_item("a", TEXT, gateway_pb2.Part()), "request.messages[0].parts[1]"),
        (job_item("a", TEXT, sampling=decoder_pb2.SamplingParams(top_p=float("nan"))), "request.sampling.top_p"),
        (job_item("a", TEXT, sampling=decoder_pb2.SamplingParams(stop=["a", ""])), "request.sampling.stop[1]"),
    ],
)
def test_an_item_that_cannot_be(item: jobs_pb2.JobItem, field: str) -> None:
    with pytest.raises(RequestError) as refused:
        checks.check_item(item, LIMITS)
    assert refused.value.field == field
