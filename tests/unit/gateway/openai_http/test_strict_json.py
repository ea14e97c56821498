"""What is JSON here, and what is not."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai_http.refusals import HttpError
from gateway.openai_http.strict_json import MAX_DEPTH, MAX_STRUCTURE, parse_object

finite = st.floats(allow_nan=False, allow_infinity=False)
characters = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | finite | characters,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(characters, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(characters, values), st.booleans())
def test_every_json_object_is_read_as_it_was_written(value: dict[str, object], ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=64))
def test_bytes_are_an_object_or_refused(raw: bytes) -> None:
    value = None
    with contextlib.suppress(HttpError):
        value = parse_object(raw)
    assert value is None or value == json.loads(raw)


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON at line 1"),
        (b"[]", "JSON object"),
        (b'{"a": 1,}', "not JSON at line 1"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' appears twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\uDFFF": 1}', "surrogate"),
        (nested(MAX_DEPTH + 1), "deep"),
        (nested(200_000), "deep"),
        (b'{"a": [' + b"," * MAX_STRUCTURE + b"]}", "too many members"),
    ],
)
def test_what_readers_could_differ_on_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(HttpError, match=message.replace("(", "\\(")):
        parse_object(raw)


def test_a_surrogate_pair_is_one_character_and_the_allowed_depth_is_allowed() -> None:
    assert parse_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}
    assert parse_object(nested(MAX_DEPTH))
