"""What is added to a file of output comes out, in pieces, and never more than a few of them wait."""

from __future__ import annotations

import asyncio

import pytest

from gateway.openai_http import line_file
from gateway.openai_http.line_file import LineFile


@pytest.mark.parametrize("num_lines", [0, 1, 100])
async def test_lines_come_out_as_they_were_added(num_lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_file, "PIECE_BYTES", 32)
    lines, file = [f"line {i}\n".encode() for i in range(num_lines)], LineFile()

    async def write() -> None:
        for line in lines:
            await file.add(line)
        await file.end()

    writing = asyncio.create_task(write())
    pieces = [piece async for piece in file.pieces()]
    await writing
    assert b"".join(pieces) == b"".join(lines)
    assert all(len(piece) >= 32 for piece in pieces[:-1])


async def test_a_writer_waits_for_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_file, "PIECE_BYTES", 1)
    file, added = LineFile(), []

    async def write() -> None:
        for i in range(10):
            await file.add(b"x")
            added.append(i)

    writing = asyncio.create_task(write())
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(added) == line_file.MAX_PIECES
    writing.cancel()
