"""Who did what to what, and was it allowed: JSON lines that are only ever appended.

A line has ``actor`` (a key's id), ``tenant`` (a digest), ``action``, ``object``, ``result`` and ``request_id``: no
content, no secret. Knows nothing of who may do what.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

MAX_CHARS = 200
"""Of each value: an object may be a path that a stranger made up."""

BURST_LINES = 100
LINES_PER_S = 10.0
"""How many refusals are written down: strangers must not fill the disk."""

NOBODY = "-"

_RENDER: list[structlog.typing.Processor] = [
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.JSONRenderer(),
]


class AuditLog:
    """Appends to ``file``, made for its owner alone; None: to stderr."""

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        sink: Any = _Appending(file) if file else structlog.WriteLogger(sys.stderr)
        self._log = structlog.wrap_logger(
            sink, processors=_RENDER, wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=True
        ).bind(logger="audit")
        self._refusals = _Allowance(clock)

    def record(
        self,
        action: str,
        object_: str,
        result: str,
        *,
        actor: str = NOBODY,
        tenant: str = "",
        request_id: str = "",
        **more: int,
    ) -> None:
        """Writes one line. A line that cannot be written goes to the ordinary log: the action has happened."""
        line = {"actor": actor, "tenant": digest(tenant), "object": object_, "result": result, "request_id": request_id}
        short = {name: value[:MAX_CHARS] for name, value in line.items()}
        try:
            self._log.info(action, **short, **more)
        except OSError as error:
            structlog.get_logger("audit").error(action, **short, **more, unwritten=error.strerror)

    def refused(self, action: str, object_: str, result: str, **who: str) -> None:
        """Writes a refusal, as often as is allowed; the next line says how many went before it unwritten."""
        if (num_unwritten := self._refusals.take()) is not None:
            self.record(action, object_, result, **who, unwritten_before=num_unwritten)  # type: ignore[arg-type]


def digest(tenant: str) -> str:
    """Tells tenants apart without naming them; empty for none."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16] if tenant else ""


class _Appending:
    """Opens the file for every line: a file moved away begins again, and several writers' lines are whole."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def info(self, line: str) -> None:
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
        finally:
            os.close(descriptor)


class _Allowance:
    """A bucket of ``BURST_LINES`` tokens, refilled at ``LINES_PER_S``."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._tokens, self._at_s = clock, float(BURST_LINES), clock()
        self._num_unwritten = 0

    def take(self) -> int | None:
        """How many were refused since the last that was not; None if this one is."""
        now = self._clock()
        self._tokens = min(BURST_LINES, self._tokens + (now - self._at_s) * LINES_PER_S)
        self._at_s = now
        if self._tokens < 1:
            self._num_unwritten += 1
            return None
        self._tokens -= 1
        told, self._num_unwritten = self._num_unwritten, 0
        return told
