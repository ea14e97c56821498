"""Chunks of a file to its lines, none of them ever held beyond its bound. Pure.

Knows nothing of what a line means.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Line(NamedTuple):
    """One line, without its end."""

    number: int
    """From 1, as editors count."""
    raw: bytes
    is_cut: bool
    """Whether it is longer than allowed; ``raw`` is its beginning."""


class LineSplitter:
    """Takes a file chunk by chunk, hands out the lines that have ended; blank ones are counted and left out."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_bytes = max_line_bytes
        self._begun = bytearray()
        self._is_cut = False
        self.num_lines = 0
        """Lines so far, blank ones included."""

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in ``chunk``."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._add(chunk, start, end)
            yield from self._take()
            start = end + 1
        self._add(chunk, start, len(chunk))

    def end(self) -> Iterator[Line]:
        """The last line, if nothing ended it."""
        if self._begun:
            yield from self._take()

    def _add(self, chunk: bytes, start: int, end: int) -> None:
        stop = min(end, start + self._max_bytes - len(self._begun))
        self._is_cut |= stop < end
        self._begun += chunk[start:stop]

    def _take(self) -> Iterator[Line]:
        self.num_lines += 1
        if raw := bytes(self._begun).strip():
            yield Line(self.num_lines, raw, self._is_cut)
        self._begun.clear()
        self._is_cut = False
