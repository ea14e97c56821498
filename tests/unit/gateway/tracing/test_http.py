"""The spans of HTTP requests, and what their clients are told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from tests.spans_lab import RecordedSpans
from tests.unit.gateway.fakes import STARTED, Events, chunk, forever, raising
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, image, question, running_http, sse, text
from tests.unit.gateway.tracing import trees
from tests.unit.gateway.tracing.trees import ended, kept, known, tree
from trichord.errors import OverloadedError, UnavailableError
from trichord.telemetry import names
from trichord.v1 import decoder_pb2

POST = "POST /v1/chat/completions"
UNAVAILABLE = UnavailableError("The decoder is away.", retry_after_s=1)


@pytest.fixture
async def http(lab: Lab, recorded_spans: RecordedSpans) -> AsyncIterator[HttpLab]:
    async with running_http(lab) as running:
        await known(lab, recorded_spans)
        yield running


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_chat_has_the_same_tree_as_over_grpc(
    http: HttpLab, recorded_spans: RecordedSpans, is_stream: bool
) -> None:
    response = await http.complete(stream=is_stream, **question(text(), image()))
    await ended(recorded_spans, POST)
    await kept(http.lab)
    assert tree(recorded_spans) == trees.text("""
        < POST /v1/chat/completions
            chat fake
                admit
                    > redis budgets reserve
                check
                    > DecoderService/CountTokens
                        < DecoderService/CountTokens
                encode item
                    store lookup
                        > redis embedding find
                    lane
                    > VisionEncoderService/EncodeImage
                        < VisionEncoderService/EncodeImage
                    > redis embedding keep
                merge
                lane
                > DecoderService/Generate
                    < DecoderService/Generate
                > redis budgets settle
    """)
    answer_id = sse(response)[0]["id"] if is_stream else response.json()["id"]
    assert dict(recorded_spans.one(POST).attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.response.id": answer_id,
        "trichord.request_id": response.headers["x-request-id"],
    }
    assert recorded_spans.one("chat fake").status.status_code is StatusCode.OK


async def test_every_answer_names_its_trace(http: HttpLab, recorded_spans: RecordedSpans) -> None:
    answers = [await http.complete(), await http.complete(stream=True), await http.complete(model="none")]
    answers += [await http.client.get("/v1/models"), await http.client.get("/nowhere")]
    answers += [await http.client.get("/v1/models", headers={"authorization": "Bearer none"})]
    await trees.until(lambda: len(served(recorded_spans)) == len(answers))
    assert [answer.headers["x-trace-id"] for answer in answers] == [
        f"{span.context.trace_id:032x}" for span in sorted(served(recorded_spans), key=lambda span: span.start_time)
    ]


def served(recorded: RecordedSpans) -> list:
    return [span for span in recorded.ended if names.HTTP_METHOD in span.attributes]


async def test_probes_and_pages_are_not_traced(http: HttpLab, recorded_spans: RecordedSpans) -> None:
    public = ["/healthz", "/readyz", "/docs", "/openapi.json"]
    answers = [await http.client.get(path) for path in public]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert ["x-trace-id" in answer.headers for answer in answers] == [False] * 4
    await http.client.get("/v1/models")
    await ended(recorded_spans, "GET /v1/models")
    assert [span.name for span in served(recorded_spans)] == ["GET /v1/models"]


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/v1/models/canary-xyzzy", "GET /v1/models/{id:path}"),
        ("GET", "/canary-xyzzy", "GET"),
        ("DELETE", "/v1/models", "DELETE /v1/models"),
        ("XYZZY", "/v1/models", "_OTHER /v1/models"),
    ],
)
async def test_a_span_is_named_by_its_route_and_never_by_its_path(
    http: HttpLab, recorded_spans: RecordedSpans, method: str, path: str, name: str
) -> None:
    await http.client.request(method, path)
    await ended(recorded_spans, name)
    assert "xyzzy" not in recorded_spans.one(name).to_json().lower()


@pytest.mark.parametrize(
    ("headers", "status", "error_type"),
    [
        ({"authorization": "Bearer wrong"}, 401, "UNAUTHENTICATED"),
        ({"authorization": "Bearer key-of-batch"}, 403, "FORBIDDEN"),
    ],
)
async def test_who_is_not_let_in_has_a_span_too(
    http: HttpLab, recorded_spans: RecordedSpans, headers: dict[str, str], status: int, error_type: str
) -> None:
    assert (await http.complete(headers)).status_code == status
    await ended(recorded_spans, "POST")
    span = recorded_spans.one("POST")
    assert (span.attributes[names.HTTP_STATUS], span.attributes[names.ERROR_TYPE]) == (status, error_type)
    assert span.status.status_code is StatusCode.UNSET


async def test_a_request_that_is_wrong_has_not_failed_here(http: HttpLab, recorded_spans: RecordedSpans) -> None:
    assert (await http.complete(temperature="hot")).status_code == 400
    await ended(recorded_spans, POST)
    span = recorded_spans.one(POST)
    assert (span.status.status_code, span.attributes[names.ERROR_TYPE]) == (StatusCode.UNSET, "INVALID_REQUEST")


async def test_a_request_that_fails_here_is_red(http: HttpLab, recorded_spans: RecordedSpans) -> None:
    http.lab.vision.step = raising(OverloadedError("Full."))
    assert (await http.complete(**question(image()))).status_code == 503
    await ended(recorded_spans, POST)
    span = recorded_spans.one(POST)
    assert (span.status.status_code, span.attributes[names.ERROR_TYPE]) == (StatusCode.ERROR, "OVERLOADED")
    assert span.attributes[names.HTTP_STATUS] == 503
    assert names.ERROR_ORIGIN not in span.attributes


async def test_a_stream_that_breaks_off_is_red_though_its_status_was_200(
    http: HttpLab, recorded_spans: RecordedSpans
) -> None:
    async def dies(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        raise UNAVAILABLE

    http.lab.decoder.answer = dies
    response = await http.complete(stream=True)
    assert "error" in sse(response)[-1]
    await ended(recorded_spans, POST)
    span = recorded_spans.one(POST)
    assert (span.attributes[names.HTTP_STATUS], span.status.status_code) == (200, StatusCode.ERROR)
    assert span.attributes[names.ERROR_TYPE] == "UNAVAILABLE"


async def test_a_client_that_leaves(http: HttpLab, recorded_spans: RecordedSpans) -> None:
    async def stuck(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        await forever(b"")

    http.lab.decoder.answer = stuck
    async with http.client.stream("POST", "/v1/chat/completions", json=question(stream=True)) as response:
        await anext(response.aiter_bytes())
    await ended(recorded_spans, POST)
    for name in (POST, "chat fake"):
        assert recorded_spans.one(name).attributes[names.ERROR_TYPE] == "CANCELLED"
    calls = [
        span for span in recorded_spans.named("trichord.v1.DecoderService/Generate") if span.kind is SpanKind.CLIENT
    ]
    assert [span.attributes[names.ERROR_TYPE] for span in calls] == ["CANCELLED"]


async def test_answers_at_the_same_time_keep_their_spans_apart(http: HttpLab, recorded_spans: RecordedSpans) -> None:
    answers = await asyncio.gather(*(http.complete(stream=bool(i % 2)) for i in range(6)))
    await ended(recorded_spans, POST, times=6)
    chats = {f"{span.context.trace_id:032x}": span.parent.span_id for span in recorded_spans.named("chat fake")}
    requests = {f"{span.context.trace_id:032x}": span.context.span_id for span in recorded_spans.named(POST)}
    assert chats == requests
    assert set(requests) == {answer.headers["x-trace-id"] for answer in answers}
