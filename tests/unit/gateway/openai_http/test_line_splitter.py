"""Chunks to lines: the same ones however a file is cut, and never more of a line than its bound."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.openai_http.line_splitter import Line, LineSplitter

MAX_BYTES = 8
FILES = st.lists(st.sampled_from([b"\n", b"a", b"{}", b" ", b"\r\n", b"123456789"]), max_size=30).map(b"".join)


def split(chunks: list[bytes]) -> list[Line]:
    splitter = LineSplitter(MAX_BYTES)
    return [*(line for chunk in chunks for line in splitter.feed(chunk)), *splitter.end()]


@given(FILES)
def test_the_lines_are_those_of_the_file(file: bytes) -> None:
    expected = [
        Line(number, line[:MAX_BYTES].strip(), len(line) > MAX_BYTES)
        for number, line in enumerate(file.split(b"\n"), 1)
        if line[:MAX_BYTES].strip()
    ]
    assert split([file]) == expected


@given(FILES, st.lists(st.integers(0, 60), max_size=5))
def test_where_chunks_end_changes_nothing(file: bytes, cuts: list[int]) -> None:
    edges = sorted({0, *(cut for cut in cuts if cut < len(file)), len(file)})
    assert split([file[a:b] for a, b in itertools.pairwise(edges)]) == split([file])


def test_no_more_of_a_line_is_held_than_its_bound() -> None:
    splitter = LineSplitter(MAX_BYTES)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 1000)) == []
    assert list(splitter.end()) == [Line(1, b"x" * MAX_BYTES, is_cut=True)]


def test_blank_lines_are_counted() -> None:
    splitter = LineSplitter(MAX_BYTES)
    assert [line.number for line in splitter.feed(b"\n\na\n\n")] == [3]
    assert splitter.num_lines == 4
