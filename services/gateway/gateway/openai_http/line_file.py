"""A file of output while it is written: lines in, pieces of a megabyte out. Knows nothing of stores or of lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

PIECE_BYTES = 1 << 20
MAX_PIECES = 2
"""Pieces that wait for the store; whoever has another line then waits too."""


class LineFile:
    """What one task adds to and another reads."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(MAX_PIECES)

    async def add(self, lines: bytes) -> None:
        """Adds a line or several, with their ends."""
        self._begun += lines
        if len(self._begun) >= PIECE_BYTES:
            await self._flush()

    async def end(self) -> None:
        """Nothing more comes."""
        if self._begun:
            await self._flush()
        await self._pieces.put(b"")

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was added, until the end."""
        while piece := await self._pieces.get():
            yield piece

    async def _flush(self) -> None:
        await self._pieces.put(bytes(self._begun))
        self._begun.clear()
