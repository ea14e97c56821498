"""Arguments to requests of JobService. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Unpack

from trichord import request_id
from trichord.client import requests
from trichord.client.options import ChatOptions
from trichord.client.parts import Message
from trichord.v1 import decoder_pb2, jobs_pb2

MAX_PART_BYTES = 1024 * 1024
"""Of items in one message of a submission, unless one item is larger by itself."""
PAGE_SIZE = 100
"""Jobs, or results, of one call: a result may be large."""


def job_item(
    custom_id: str,
    messages: Iterable[Message],
    sampling: decoder_pb2.SamplingParams | None = None,
    **options: Unpack[ChatOptions],
) -> jobs_pb2.JobItem:
    """One request of a job: what ``OmniClient.chat`` takes, and a name of 1 to 128 characters that no other item has.

    The gateway sets the request id and the priority. Raises as ``chat`` does.
    """
    return jobs_pb2.JobItem(custom_id=custom_id, request=requests.chat(messages, sampling, options))


def named(spec: jobs_pb2.JobSpec | None) -> jobs_pb2.JobSpec:
    """A copy of the spec that has a request id: an attempt that is repeated must not become a second job."""
    copy = jobs_pb2.JobSpec()
    if spec is not None:
        copy.CopyFrom(spec)
    copy.request_id = copy.request_id or f"job-{request_id.new()}"
    return copy


def submission(spec: jobs_pb2.JobSpec, items: Iterable[jobs_pb2.JobItem]) -> Iterator[jobs_pb2.SubmitJobRequest]:
    """The messages of one SubmitJob call."""
    yield jobs_pb2.SubmitJobRequest(spec=spec)
    part, num_bytes = jobs_pb2.JobItems(), 0
    for item in items:
        if part.items and num_bytes + item.ByteSize() > MAX_PART_BYTES:
            yield jobs_pb2.SubmitJobRequest(items=part)
            part, num_bytes = jobs_pb2.JobItems(), 0
        part.items.append(item)
        num_bytes += item.ByteSize()
    if part.items:
        yield jobs_pb2.SubmitJobRequest(items=part)
