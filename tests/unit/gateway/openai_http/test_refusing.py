"""Every refusal, from malformed bytes to a fault of ours, has OpenAI's shape and says whether to try again."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from gateway.openai_http import refusals
from tests.unit.gateway.fakes import STARTED, Events, chunk, raising
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import (
    HttpLab,
    audio,
    error_of,
    image,
    running_http,
    sse,
    text,
    user,
)
from trichord import errors
from trichord.v1 import decoder_pb2


async def test_paths_and_methods_that_are_not_there(http: HttpLab) -> None:
    missing = await http.client.get("/v1/embeddings")
    assert (missing.status_code, error_of(missing)["code"]) == (404, "unknown_url")
    wrong = await http.client.get("/v1/chat/completions")
    assert (wrong.status_code, error_of(wrong)["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")


async def test_a_model_that_is_not_there(http: HttpLab) -> None:
    for response in (await http.complete(model="gpt-5"), await http.client.get("/v1/models/gpt-5")):
        error = error_of(response)
        assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert (await http.client.get("/v1/models/fake")).json()["id"] == "fake"
    assert [model["id"] for model in (await http.client.get("/v1/models")).json()["data"]] == ["fake"]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b'{"model": NaN}', {}, 400, "invalid_json"),
        (b"{}", {}, 400, "missing_required_parameter"),
        (b"{}", {"content_type": "text/plain"}, 415, "unsupported_content_type"),
        (b"{}", {"content_type": "application/x-www-form-urlencoded"}, 415, "unsupported_content_type"),
        (gzip.compress(b"{}", mtime=0), {"content_encoding": "gzip"}, 415, "unsupported_content_encoding"),
        (b"{}", {"idempotency_key": ""}, 400, "missing_required_parameter"),
    ],
)
async def test_bodies_that_are_not_served(
    http: HttpLab, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = await http.post(content, **headers)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["x-should-retry"] == "false"


async def test_an_idempotency_key_that_is_none(http: HttpLab) -> None:
    response = await http.complete(headers={"idempotency-key": "x" * 256})
    assert error_of(response)["code"] == "invalid_idempotency_key"


async def test_a_body_too_large_is_refused_by_its_length_or_while_it_is_read(lab: Lab) -> None:
    async with running_http(lab, max_body_bytes=1000) as http:
        declared = await http.post(b" " * 1001)
        assert (declared.status_code, error_of(declared)["code"]) == (413, "request_too_large")

        async def endless() -> object:
            for _ in range(100):
                yield b" " * 100

        chunked = await http.client.post(
            "/v1/chat/completions", content=endless(), headers={"content-type": "application/json"}
        )
        assert (chunked.status_code, error_of(chunked)["code"]) == (413, "request_too_large")
        assert (await http.complete()).status_code == 200


async def test_bodies_together_are_bounded_and_given_back(lab: Lab) -> None:
    async with running_http(lab, max_buffered_bytes=2000) as http:
        refused = await http.post(b" " * 2001)
        assert (refused.status_code, error_of(refused)["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "2"
        for _ in range(30):
            assert (await http.complete()).status_code == 200


async def test_a_body_that_trickles_is_given_up(lab: Lab) -> None:
    async with running_http(lab, body_timeout_s=0.05, header_timeout_s=0.3) as http:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer key-of-acme\r\n"
        answer = await http.raw(head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


async def test_headers_that_trickle_close_the_connection(lab: Lab) -> None:
    async with running_http(lab, header_timeout_s=0.2) as http:
        assert await http.raw(b"GET /healthz HTTP/1.1\r\nHost:") == b""
        second = await http.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /he")
        assert second.count(b"HTTP/1.1 200") == 1
        unread = b"POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"
        assert (await http.raw(unread)).startswith(b"HTTP/1.1 401 ")
        assert (await http.complete()).status_code == 200


async def test_connections_are_bounded(lab: Lab) -> None:
    async with running_http(lab, max_connections=2) as http:
        held = [await asyncio.open_connection("127.0.0.1", http.running.port) for _ in range(2)]
        assert await http.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") == b""
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused_in_the_same_shape(lab: Lab, request_bytes: bytes) -> None:
    async with running_http(lab, max_header_bytes=2_000) as http:
        head, _, body = (await http.raw(request_bytes)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_http"


async def test_whole_headers_too_large_are_refused(lab: Lab) -> None:
    async with running_http(lab, max_header_bytes=2_000) as http:
        response = await http.client.get("/healthz", headers={"x-long": "x" * 2_000})
        assert (response.status_code, error_of(response)["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize(
    ("error", "status", "error_type", "code", "retry"),
    [
        (errors.ContextLengthError("Long."), 400, "invalid_request_error", "context_length_exceeded", None),
        (errors.FingerprintError("Skew."), 503, "server_error", "embedding_fingerprint_mismatch", None),
        (errors.QuotaError("Spent.", quota="tokens", retry_after_s=0.25), 429, "tokens", "rate_limit_exceeded", "250"),
        (errors.OverloadedError("Full.", retry_after_s=3), 503, "server_error", "overloaded", "3000"),
        (errors.UnavailableError("Away.", retry_after_s=1), 503, "server_error", "unavailable", "1000"),
        (errors.DeadlineError("Late."), 504, "server_error", "deadline_exceeded", None),
        (errors.FeatureOffError("Off."), 501, "invalid_request_error", "unsupported", None),
        (errors.InternalError("Bug 1."), 500, "server_error", "internal_error", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_refusals_of_the_services_behind(
    http: HttpLab, error: errors.TrichordError, status: int, error_type: str, code: str, retry: str | None, stream: bool
) -> None:
    http.refuse(error)
    response = await http.complete(stream=stream)
    told = error_of(response)
    assert (response.status_code, told["type"], told["code"]) == (status, error_type, code)
    assert response.headers["x-should-retry"] == ("true" if retry else "false")
    assert response.headers.get("retry-after-ms") == retry
    assert ("retry-after" in response.headers) == bool(retry)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bad_medium_is_named_where_the_client_put_it(http: HttpLab, stream: bool) -> None:
    http.lab.audio.step = raising(errors.MediaError("This is no sound.", field="audio"))
    system = [{"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]
    messages = [*system, user(image(), text(), audio())]
    response = await http.complete(messages=messages, stream=stream)
    error = error_of(response)
    assert response.status_code == 400
    assert (error["code"], error["param"]) == ("invalid_audio", "messages[2].content[2].input_audio")


@pytest.mark.parametrize(
    ("field", "body", "param"),
    [
        ("sampling.max_tokens", {"max_tokens": 5}, "max_tokens"),
        ("sampling.max_tokens", {"max_completion_tokens": 5}, "max_completion_tokens"),
        ("sampling.logprobs", {"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
        ("sampling.stop[0]", {"stop": "x"}, "stop"),
        ("sampling.stop[1]", {"stop": ["x", "y"]}, "stop[1]"),
        ("sampling.logit_bias[7]", {"logit_bias": {"7": 1}}, "logit_bias[7]"),
        ("sampling.response_format.json_schema", {}, "response_format.json_schema"),
        ("messages[0].role", {}, "messages[0].role"),
        ("messages[0].parts[0].text", {}, "messages[0].content"),
        ("messages[7].parts[0].text", {}, None),
        ("priority", {}, "priority"),
    ],
)
async def test_fields_of_the_contract_are_translated_back(
    http: HttpLab, field: str, body: dict[str, object], param: str | None
) -> None:
    http.refuse(errors.RequestError("Not so.", field=field))
    assert error_of(await http.complete(**body))["param"] == param


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_of_ours_says_no_more_than_an_id(http: HttpLab, stream: bool) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("secret /path 0x7f")

    http.desk.core.answer = break_down  # type: ignore[assignment]
    response = await http.complete(stream=stream)
    error = error_of(response)
    assert (response.status_code, error["type"], error["code"]) == (500, "server_error", "internal_error")
    assert response.headers["x-request-id"] in error["message"]
    assert "secret" not in response.text


@pytest.mark.parametrize("failure", [errors.UnavailableError("Gone.", retry_after_s=1), None])
async def test_a_stream_that_breaks_ends_with_an_error_event_and_without_done(
    http: HttpLab, failure: errors.TrichordError | None
) -> None:
    async def break_off(request: decoder_pb2.GenerateRequest) -> Events:
        for event in (STARTED, chunk("Hel", 1)):
            yield event
        if failure:
            raise failure

    http.lab.decoder.answer = break_off
    response = await http.complete(stream=True)
    assert response.status_code == 200
    events = sse(response)
    assert [choice["delta"].get("content") for event in events[:-1] for choice in event["choices"]] == ["", "Hel"]
    assert list(events[-1]) == ["error"]
    assert events[-1]["error"]["code"] == "unavailable"


def test_every_error_has_a_place() -> None:
    for name in errors.__all__:
        kind = refusals.kind(getattr(errors, name)("x"))
        assert 400 <= kind.status < 600
        assert set(refusals.body(getattr(errors, name)("x"))["error"]) == {"message", "type", "param", "code"}
    explicit = {getattr(errors, name) for name in errors.__all__} - set(refusals._KINDS)
    assert explicit == {errors.InternalError, errors.StartupError, *errors.StartupError.__subclasses__()}
