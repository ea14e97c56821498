"""The name of a request in logs and traces: the caller's own, or one made where it arrives. Knows no service."""

from __future__ import annotations

import uuid

from trichord.errors import RequestError

MAX_CHARS = 128


def check(request_id: str) -> None:
    """Raises RequestError, field ``request_id``, for a name that would not fit a line of a log."""
    if len(request_id) > MAX_CHARS or not request_id.isprintable():
        raise RequestError(f"A request id has at most {MAX_CHARS} printable characters.", field="request_id")


def new() -> str:
    """A name that nobody else has."""
    return uuid.uuid4().hex
