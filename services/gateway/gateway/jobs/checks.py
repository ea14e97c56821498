"""What may be in a job: its spec completed, its items looked at as far as that needs no model and no media. Pure."""

from __future__ import annotations

from datetime import datetime

from gateway import conversation
from gateway.settings import GatewaySettings
from trichord import request_id, sampling_ranges
from trichord.errors import RequestError, TrichordError
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

MAX_CUSTOM_ID_CHARS = 128
MAX_PAIRS, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512
"""Of metadata, as the OpenAI API has it."""


def completed(spec: jobs_pb2.JobSpec, now: datetime, settings: JobsSettings) -> jobs_pb2.JobSpec:
    """A copy with everything set that may be left out. Raises RequestError, its field beginning with ``spec``."""
    _check(spec, now, settings)
    copy = jobs_pb2.JobSpec()
    copy.CopyFrom(spec)
    copy.request_id = spec.request_id or f"job-{request_id.new()}"
    copy.priority = spec.priority or jobs_pb2.JOB_PRIORITY_NORMAL
    if not spec.HasField("deadline"):
        copy.deadline.FromSeconds(int(now.timestamp()) + settings.default_deadline_hours * 3600)
    return copy


def check_item(item: jobs_pb2.JobItem, limits: GatewaySettings) -> None:
    """Raises RequestError for an item that no model can answer; its field is in the item, e.g. ``request.messages``."""
    if not (0 < len(item.custom_id) <= MAX_CUSTOM_ID_CHARS and item.custom_id.isprintable()):
        raise RequestError(f"A custom id has 1 to {MAX_CUSTOM_ID_CHARS} printable characters.", field="custom_id")
    try:
        conversation.check(item.request, limits)
        sampling_ranges.check(item.request.sampling)
    except TrichordError as error:
        error.at(f"request.{error.field}")
        raise


def _check(spec: jobs_pb2.JobSpec, now: datetime, settings: JobsSettings) -> None:
    try:
        request_id.check(spec.request_id)
    except RequestError as error:
        error.at("spec.request_id")
        raise
    if spec.priority not in jobs_pb2.JobPriority.values():
        raise RequestError("A job's priority is HIGH, NORMAL or LOW.", field="spec.priority")
    if spec.HasField("deadline"):
        left_s = spec.deadline.seconds + spec.deadline.nanos / 1e9 - now.timestamp()
        if not (0 < left_s <= settings.max_deadline_hours * 3600 and 0 <= spec.deadline.nanos < 10**9):
            message = f"A job's deadline is in the next {settings.max_deadline_hours} hours."
            raise RequestError(message, field="spec.deadline")
    if len(spec.metadata) > MAX_PAIRS:
        raise RequestError(f"Metadata has at most {MAX_PAIRS} pairs.", field="spec.metadata")
    if any(len(key) > MAX_KEY_CHARS or len(value) > MAX_VALUE_CHARS for key, value in spec.metadata.items()):
        message = f"Keys of metadata have at most {MAX_KEY_CHARS} characters, values {MAX_VALUE_CHARS}."
        raise RequestError(message, field="spec.metadata")
