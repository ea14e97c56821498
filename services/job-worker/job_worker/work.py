"""One item as the queue brought it: what it asks for, by when, and what it went through."""

from __future__ import annotations

import time
from dataclasses import dataclass

from trichord.errors import RequestError
from trichord.jobs import layout
from trichord.jobs.consumer import Delivery
from trichord.jobs.message import History, Origin, body_as
from trichord.v1 import jobs_pb2

MAX_TENANT_CHARS = 128


@dataclass(frozen=True)
class Work:
    """An item that can be worked on."""

    queued: jobs_pb2.QueuedItem
    history: History
    origin: Origin
    """Where it lies now."""
    queued_at_s: float
    """When it was put there, in Unix seconds."""

    @classmethod
    def of(cls, delivery: Delivery) -> Work:
        """Reads it. Raises RequestError if it is none: whatever is tried, it cannot be done."""
        message = delivery.message()
        queued = body_as(message, jobs_pb2.QueuedItem)
        if not layout.is_job_id(queued.job_id):
            raise RequestError("The message names no job.", field="job_id")
        if not (0 < len(queued.tenant) <= MAX_TENANT_CHARS and queued.tenant.isascii() and queued.tenant.isprintable()):
            raise RequestError("The message names no tenant.", field="tenant")
        if queued.index < 0:
            raise RequestError("The message names no item.", field="index")
        return cls(queued, message.history, delivery.origin, delivery.time.timestamp())

    @property
    def request_id(self) -> str:
        """Of the item's call, its usage event, logs and traces, however often it is tried."""
        return f"{self.queued.job_id}-{self.queued.index}"

    def left_s(self) -> float:
        """Seconds until it expires; 0 once it has."""
        return max(0.0, self.queued.deadline.ToMilliseconds() / 1e3 - time.time())

    @property
    def is_expired(self) -> bool:
        """Whether nobody waits for it any more."""
        return not self.left_s()
