"""Lines of a batch to items of a job, and what is wrong with those that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.openai_http.batch_lines import MAX_ERRORS, BatchReader, LineLimits
from tests.unit.gateway.openai_http.http_lab import image, question, text
from trichord.errors import RequestError
from trichord.v1 import decoder_pb2, gateway_pb2

LIMITS = LineLimits(max_lines=8, max_line_bytes=4096, max_media_bytes=100)


def line(custom_id: str = "a", body: Any = None, **members: Any) -> bytes:
    whole = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body or question()}
    return json.dumps({**whole, **members}).encode() + b"\n"


def read(content: bytes, reader: BatchReader | None = None) -> BatchReader:
    """What is read is counted."""
    reader = reader or BatchReader(LIMITS, "fake")
    reader.feed(content)
    reader.end()
    return reader


def test_good_lines_are_items() -> None:
    reader = BatchReader(LIMITS, "fake")
    body = question(text("look"), image(b"PNG"), temperature=0.5, max_completion_tokens=7, priority="batch")
    items = [*reader.feed(line("a") + b"\n" + line("b", body)[:-1]), *reader.end()]
    assert [item.custom_id for item in items] == ["a", "b"]
    assert [part.WhichOneof("part") for part in items[1].request.messages[0].parts] == ["text", "image_bytes"]
    assert items[1].request.sampling.temperature == 0.5
    assert items[1].request.sampling.max_tokens == 7
    assert items[0].request.sampling.temperature == 1.0
    assert items[1].request.priority == decoder_pb2.PRIORITY_UNSPECIFIED
    assert items[1].request.request_id == ""
    assert (reader.num_items, reader.errors) == (2, [])


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        (b"{\n", "invalid_json", None),
        (b"[]\n", "invalid_json", None),
        (b"\xff\n", "invalid_json", None),
        (b'{"a": 1, "a": 2}\n', "invalid_json", None),
        (b"{}\n", "missing_required_parameter", "custom_id"),
        (line(custom_id=""), "invalid_value", "custom_id"),
        (line(custom_id="x" * 129), "invalid_value", "custom_id"),
        (line(custom_id="a\nb"), "invalid_value", "custom_id"),
        (line(custom_id=7), "invalid_value", "custom_id"),  # type: ignore[arg-type]
        (line(method="GET"), "invalid_value", "method"),
        (line(url="/v1/embeddings"), "invalid_value", "url"),
        (line(body=[1]), "invalid_value", "body"),
        (line(body=question(model="other")), "model_not_found", "body.model"),
        (line(body={"model": "fake"}), "missing_required_parameter", "body.messages"),
        (line(body=question(temperature=3)), "invalid_value", "body.temperature"),
        (line(body=question(tools=[1])), "unsupported_parameter", "body.tools"),
        (line(body=question(stream=True)), "unsupported_parameter", "body.stream"),
        (line(body=question(logprobs=True)), "unsupported_parameter", "body.logprobs"),
        (line(body=question(priority="live")), "unsupported_parameter", "body.priority"),
        (line(body=question(degradation="answer_without")), "unsupported_parameter", "body.degradation"),
        (line(body=question(image(b"x" * 200))), "media_too_large", "body.messages[0].content[0].image_url"),
        (line(custom_id="y", body=question(user="z" * 5000)), "line_too_large", None),
    ],
)
def test_a_wrong_line_is_told_and_the_others_are_items(wrong: bytes, code: str, param: str | None) -> None:
    reader = read(line("before") + wrong + line("after"))
    assert reader.num_items == 2
    [error] = reader.errors
    assert (error["code"], error["line"], error["param"]) == (code, 2, param)
    assert error["message"]


def test_custom_ids_are_unique() -> None:
    reader = read(line("a") + line("b") + line("a"))
    assert [(error["code"], error["line"]) for error in reader.errors] == [("duplicate_custom_id", 3)]


def test_without_a_model_told_all_lines_name_the_same() -> None:
    lines = line("a", question(model="one")) + line("b", question(model="two")) + line("c", question(model="one"))
    reader = read(lines, BatchReader(LIMITS))
    assert [(error["code"], error["line"]) for error in reader.errors] == [("model_not_found", 2)]


def test_too_many_lines_end_the_reading() -> None:
    reader = read(b"".join(line(str(i)) for i in range(12)))
    assert reader.is_full
    assert reader.num_items == 8
    assert [(error["code"], error["line"]) for error in reader.errors] == [("too_many_lines", None)]
    assert reader.feed(line("later")) == []


def test_too_many_lines_are_told_before_whatever_is_wrong_with_them() -> None:
    reader = read(b"{}\n" * 300, BatchReader(LIMITS._replace(max_lines=200)))
    assert reader.errors[0]["code"] == "too_many_lines"
    assert (len(reader.errors), reader.num_wrong) == (MAX_ERRORS + 1, 200)


def test_blank_lines_count_too() -> None:
    assert read(b"\n" * 9).errors[0]["code"] == "too_many_lines"


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n\n"])
def test_an_empty_file_is_an_error(content: bytes) -> None:
    assert [error["code"] for error in read(content).errors] == ["empty_file"]


def test_errors_are_counted_and_the_first_hundred_told() -> None:
    reader = read(b"{}\n" * 300, BatchReader(LIMITS._replace(max_lines=1000)))
    assert (len(reader.errors), reader.num_wrong) == (MAX_ERRORS, 300)


def test_a_further_check_names_what_the_client_wrote() -> None:
    def check(request: gateway_pb2.ChatRequest) -> None:
        raise RequestError("Not that.", field="messages[0].parts[1].image_bytes")

    reader = read(line("a", question(text(), image())), BatchReader(LIMITS, "fake", check))
    assert reader.errors[0]["param"] == "body.messages[0].content[1].image_url"
