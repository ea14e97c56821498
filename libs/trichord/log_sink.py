"""Where log lines go: a file descriptor that is written to only while that takes no waiting.

A line is written whole or not at all, by one write. Where nobody reads the pipe, or it is closed, lines are lost and
counted, and the request that they are about goes on. A line of at most PIPE_BUF bytes fits into any pipe that select
calls writable (POSIX), and is not mixed with another process's.
"""

from __future__ import annotations

import os
import select

from prometheus_client import Counter

MAX_LINE_BYTES = select.PIPE_BUF
"""4 096 on Linux; the line's end is one of them."""

LOST = Counter("trichord_log_lines_lost", "Log lines that could not be written without waiting.")


class LineSink:
    """A structlog logger, and the factory of itself."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, *_: object) -> LineSink:
        """The logger for any name."""
        return self

    def write(self, line: str) -> None:
        """Writes ``line`` and its end, or counts it as lost."""
        data = line.encode("utf-8", "backslashreplace")[: MAX_LINE_BYTES - 1] + b"\n"
        try:
            _, writable, _ = select.select((), (self._descriptor,), (), 0)
            is_written = bool(writable) and os.write(self._descriptor, data) == len(data)
        except (OSError, ValueError):  # closed, or its reader is gone
            is_written = False
        if not is_written:
            LOST.inc()

    debug = info = warning = error = critical = write
