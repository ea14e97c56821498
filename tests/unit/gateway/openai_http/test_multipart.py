"""Forms: a file passed on as it comes, fields kept, everything else bounded or refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.openai_http.multipart import MAX_FIELD_BYTES, MAX_PARTS, FormLimits, FormReader
from gateway.openai_http.refusals import HttpError

TYPE = "multipart/form-data; boundary=b0"
LIMITS = FormLimits(max_file_bytes=64)


def part(content: bytes, disposition: str, *headers: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *headers])
    return b"--b0\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, value: bytes) -> bytes:
    return part(value, f'name="{name}"')


def file(content: bytes, name: str = "lines.jsonl") -> bytes:
    return part(content, f'name="file"; filename="{name}"', "Content-Type: application/jsonl")


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b0--\r\n"


def read(body: bytes, cuts: tuple[int, ...] = ()) -> tuple[FormReader, bytes]:
    reader, edges = FormReader(TYPE, LIMITS), [0, *cuts, len(body)]
    content = b"".join([reader.feed(body[a:b]) for a, b in itertools.pairwise(edges)])
    reader.end()
    return reader, content


def test_a_file_and_its_fields() -> None:
    reader, content = read(form(field("purpose", b"batch"), file(b"{}\n{}\n"), field("note", "grün".encode())))
    assert content == b"{}\n{}\n"
    assert reader.fields == {"purpose": "batch", "note": "grün"}
    assert reader.filename == "lines.jsonl"


@given(
    st.binary(max_size=64).filter(lambda content: b"--b0" not in content),
    st.sets(st.integers(1, 250), max_size=6),
)
def test_any_bytes_in_any_pieces(content: bytes, cuts: set[int]) -> None:
    body = form(field("purpose", b"batch"), file(content))
    reader, read_back = read(body, tuple(sorted(cut for cut in cuts if cut < len(body))))
    assert read_back == content
    assert reader.fields == {"purpose": "batch"}


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_our_words(body: bytes) -> None:
    with pytest.raises(HttpError):
        read(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_form"),
        (form(file(b"x"))[:-4], "invalid_form"),
        (form(), "missing_required_parameter"),
        (form(field("purpose", b"batch")), "missing_required_parameter"),
        (form(file(b"x" * 65)), "file_too_large"),
        (form(file(b"x"), file(b"y")), "invalid_form"),
        (form(field("a", b"1"), field("a", b"2"), file(b"x")), "invalid_form"),
        (form(field("", b"1"), file(b"x")), "invalid_form"),
        (form(field("a", b"x" * (MAX_FIELD_BYTES + 1)), file(b"x")), "invalid_form"),
        (form(*(field(f"f{i}", b"1") for i in range(MAX_PARTS)), file(b"x")), "invalid_form"),
        (form(file(b"x", name="n" * 256)), "invalid_filename"),
        (form(part(b"x", 'name="file"; filename="a\tb"')), "invalid_filename"),
        (form(part(b"x", 'name="file"', "X-Long: " + "y" * 8192)), "invalid_form"),
        (form(part(b"x", 'name="file"', *(f"X-{i}: y" for i in range(99)))), "invalid_form"),
    ],
)
def test_what_breaks_a_limit_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(body)
    assert caught.value.openai_code == code


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=b0", "multipart/form-data; boundary="],
)
def test_what_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(HttpError) as caught:
        FormReader(content_type, LIMITS)
    assert caught.value.status == 415


def test_an_endless_boundary_is_refused() -> None:
    with pytest.raises(HttpError):
        FormReader("multipart/form-data; boundary=" + "b" * 10_000, LIMITS)
