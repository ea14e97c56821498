"""Spans that come over the wire: from the real exporter, from Triton, and from who means no good."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.rpc import status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Status, StatusCode

from local_cluster.traces import body, otlp
from local_cluster.traces.settings import TracesSettings
from local_cluster.traces.span import Span
from local_cluster.traces.store import TraceStore
from tests.unit.local_cluster.traces.traces_lab import serving
from trichord.errors import RequestError
from trichord.telemetry.settings import TelemetrySettings
from trichord.telemetry.tracing import open_provider

TRITON = (Path(__file__).parent / "triton_spans.json").read_bytes()
JSON, PROTOBUF = {"content-type": "application/json"}, {"content-type": "application/x-protobuf"}


@pytest.fixture
def store() -> TraceStore:
    return TraceStore(TracesSettings())


@pytest.fixture
async def client(store: TraceStore) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(store) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


def request(**fields: Any) -> ExportTraceServiceRequest:
    """An export of one span."""
    defaults = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "name": "work", "start_time_unix_nano": 5}
    span = trace_pb2.Span(**{**defaults, **fields})
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="gateway"))])
    scopes = [trace_pb2.ScopeSpans(spans=[span])]
    return ExportTraceServiceRequest(resource_spans=[trace_pb2.ResourceSpans(resource=resource, scope_spans=scopes)])


async def test_what_our_processes_send_is_kept_as_they_meant_it(store: TraceStore, client: httpx2.AsyncClient) -> None:
    provider = open_provider("gateway", TelemetrySettings(otlp_url=str(client.base_url)))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("outer", attributes={"trichord.modality": "image", "sizes": [1, 2]}) as outer:
        with tracer.start_as_current_span("inner") as inner:
            inner.add_event("first token", {"n": 1}, timestamp=123)
        outer.set_status(Status(StatusCode.ERROR))
    await asyncio.to_thread(provider.shutdown)
    [trace] = store.traces()
    assert trace.trace_id == f"{outer.get_span_context().trace_id:032x}"
    first, last = sorted(trace.spans.values(), key=lambda span: span.name, reverse=True)
    assert (first.name, first.service, first.parent_id, first.is_failed) == ("outer", "gateway", "", True)
    assert first.attributes == {"trichord.modality": "image", "sizes": [1, 2]}
    assert (last.parent_id, last.is_failed) == (first.span_id, False)
    assert [(event.name, event.at_ns, event.attributes) for event in last.events] == [("first token", 123, {"n": 1})]
    assert first.start_ns <= last.start_ns <= last.end_ns <= first.end_ns


async def test_gzip_is_read(store: TraceStore, client: httpx2.AsyncClient) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{client.base_url}/v1/traces", compression=Compression.Gzip)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    await asyncio.to_thread(lambda: provider.get_tracer("test").start_span("zipped").end())
    assert [trace.summary.name for trace in store.traces()] == ["zipped"]
    provider.shutdown()


async def test_what_triton_sends_is_kept(store: TraceStore, client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/traces", content=TRITON, headers=JSON)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    [trace] = store.traces()
    assert trace.trace_id == "ca1abfaaa4b6f0ac06879997db4ea43b"
    told = {span.name: span for span in trace.spans.values()}
    assert {span.service for span in told.values()} == {"vision-encoder-triton"}
    assert told["compute"].parent_id == told["siglip"].span_id == "34a15d838be9685a"
    assert told["siglip"].parent_id == told["InferRequest"].span_id
    assert told["siglip"].attributes["triton.model_version"] == 1
    assert told["siglip"].start_ns == 1795315372480440815
    assert [event.name for event in told["siglip"].events] == ["REQUEST_START", "QUEUE_START", "REQUEST_END"]


async def test_an_enum_may_be_a_name(store: TraceStore, client: httpx2.AsyncClient) -> None:
    document = json.loads(TRITON)
    span = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["kind"], span["status"] = "SPAN_KIND_CLIENT", {"code": "STATUS_CODE_ERROR"}
    assert (await client.post("/v1/traces", json=document)).status_code == 200
    [told] = [one for trace in store.traces() for one in trace.spans.values() if one.name == "compute"]
    assert (told.kind, told.is_failed) == ("client", True)


@pytest.mark.parametrize("kind", [-(1 << 31), -7, -1, 0, 6, (1 << 31) - 1])
def test_an_unknown_kind_is_internal(kind: int) -> None:
    [told] = otlp.spans(request(kind=kind))
    assert told is not None
    assert told.kind == "internal"


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        pytest.param(b"not protobuf", PROTOBUF, id="no protobuf"),
        pytest.param(b"{", JSON, id="no JSON"),
        pytest.param(b"[1]", JSON, id="a list"),
        pytest.param(b"\xff", JSON, id="no text"),
        pytest.param(b"[" * 100_000, JSON, id="deep JSON"),
        pytest.param(b'{"resourceSpans":' * 5000, JSON, id="deep objects"),
        pytest.param(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xy"}]}]}]}', JSON, id="an id not in hex"),
        pytest.param(
            b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":7}]}]}]}', JSON, id="an id that is a number"
        ),
        pytest.param(b'{"resourceSpans":7}', JSON, id="a number for a list"),
        pytest.param(b"x", {**PROTOBUF, "content-encoding": "gzip"}, id="no gzip"),
        pytest.param(gzip.compress(b"x" * 99)[:-20], {**PROTOBUF, "content-encoding": "gzip"}, id="half a gzip"),
        pytest.param(b"x", {**PROTOBUF, "content-encoding": "br"}, id="an unknown encoding"),
        pytest.param(
            gzip.compress(bytes(body.MAX_BODY_BYTES + 1)),
            {**PROTOBUF, "content-encoding": "gzip"},
            id="too large inflated",
        ),
    ],
)
async def test_what_is_no_export_is_refused_with_a_sentence(
    store: TraceStore, client: httpx2.AsyncClient, content: bytes, headers: dict[str, str]
) -> None:
    answer = await client.post("/v1/traces", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (400, headers["content-type"])
    is_json = headers["content-type"] == JSON["content-type"]
    told = answer.json()["message"] if is_json else status_pb2.Status.FromString(answer.content).message
    assert told.endswith(".")
    assert not store.traces()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1 << 20)


@pytest.mark.parametrize("content", [bytes(body.MAX_BODY_BYTES + 1), endless()], ids=["declared", "endless"])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(client: httpx2.AsyncClient, content: Any) -> None:
    try:
        answer = await asyncio.wait_for(client.post("/v1/traces", content=content, headers=PROTOBUF), 30)
    except (httpx2.WriteError, httpx2.ReadError, httpx2.RemoteProtocolError):
        return  # hung up on while it still sent
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_what_a_page_from_elsewhere_could_send_unasked_is_not_read(
    store: TraceStore, client: httpx2.AsyncClient, media_type: str
) -> None:
    answer = await client.post("/v1/traces", content=TRITON, headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["message"]) == (415, "Send application/x-protobuf or application/json.")
    assert not store.traces()


@pytest.mark.parametrize("path", ["/api/traces", "/traces", "/healthz"])
async def test_a_name_from_elsewhere_that_points_here_is_not_answered(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 200
    assert (await client.get(path, headers={"host": "evil.example"})).status_code == 400


@pytest.mark.parametrize(
    "fields",
    [
        {"trace_id": b"short"},
        {"trace_id": bytes(16)},
        {"span_id": b""},
        {"span_id": bytes(8)},
        {"start_time_unix_nano": 0},
    ],
)
async def test_a_span_without_a_place_is_counted_and_the_others_kept(
    store: TraceStore, client: httpx2.AsyncClient, fields: dict[str, Any]
) -> None:
    both = request(**fields)
    both.resource_spans.extend(request(name="good").resource_spans)
    answer = await client.post("/v1/traces", content=both.SerializeToString(), headers=PROTOBUF)
    assert answer.status_code == 200
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
    assert [trace.summary.name for trace in store.traces()] == ["good"]


def test_texts_become_short_and_printable() -> None:
    values = [AnyValue(string_value="x" * 9999), AnyValue(double_value=float("nan")), AnyValue(int_value=1 << 60)]
    listed = AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)] * 1000))
    attributes = [KeyValue(key=f"k{index}", value=value) for index, value in enumerate([*values, listed])]
    [span] = otlp.spans(request(name="red\x1b[31m\nline\u202etfel", attributes=attributes, end_time_unix_nano=1))
    assert span is not None
    assert span.name == "red�[31m�line�tfel"
    assert len(str(span.attributes["k0"])) == otlp.MAX_VALUE_CHARS
    assert (span.attributes["k1"], span.attributes["k2"]) == ("nan", str(1 << 60))
    assert len(span.attributes["k3"]) == otlp.MAX_ITEMS  # type: ignore[arg-type]
    assert span.end_ns == span.start_ns == 5


@given(st.text(max_size=300), st.integers(1, 40))
def test_printable_text_is_on_one_line_and_no_longer_than_asked(text: str, max_chars: int) -> None:
    shown = otlp.printable(text, max_chars)
    assert shown.isprintable()
    assert len(shown) <= max_chars
    assert shown == text or not text.isprintable() or len(text) > max_chars


many = st.builds(
    request,
    name=st.text(max_size=400),
    attributes=st.lists(
        st.builds(KeyValue, key=st.text(max_size=200), value=st.builds(AnyValue, string_value=st.text(max_size=700))),
        max_size=90,
    ),
    events=st.lists(st.builds(trace_pb2.Span.Event, name=st.text(max_size=200)), max_size=150),
    links=st.lists(st.builds(trace_pb2.Span.Link, trace_id=st.binary(max_size=40)), max_size=40),
    kind=st.integers(-(1 << 31), (1 << 31) - 1),
    start_time_unix_nano=st.integers(1, (1 << 64) - 1),
    end_time_unix_nano=st.integers(0, (1 << 64) - 1),
)


@settings(max_examples=30)
@given(many)
def test_no_span_is_large(export: ExportTraceServiceRequest) -> None:
    [span] = otlp.spans(export)
    assert span is not None
    assert span.num_bytes() < 600_000
    assert (len(span.attributes) <= 64, len(span.events) <= 128, len(span.links) <= 16) == (True, True, True)
    assert span.start_ns <= span.end_ns


def spans_of(content: bytes, is_json: bool) -> list[Span | None]:
    """None at all if it is refused; any other error is a failure."""
    with contextlib.suppress(RequestError):
        return list(otlp.spans(otlp.parse(content, is_json)))
    return []


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_spans_or_refused(content: bytes, is_json: bool) -> None:
    assert all(span is None or span.trace_id for span in spans_of(content, is_json))


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
fields = st.sampled_from(
    ["resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "name", "attributes", "status", "x"]
)
documents = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4))


@given(documents)
def test_any_json_is_spans_or_refused(document: object) -> None:
    assert all(span is None or span.span_id for span in spans_of(json.dumps(document).encode(), True))


@given(st.binary(max_size=5000))
def test_gzip_of_anything_comes_back(content: bytes) -> None:
    assert body.inflate(gzip.compress(content)) == content


SCOPE, SPAN = b"\x12\x00", b"\x12\x00"
"""An empty scope of a resource, and an empty span of a scope, two bytes each."""


def of_many(resources: int = 1, scopes: int = 1, spans: int = 1) -> bytes:
    """An export of empty parts: a byte or two each, so that a million fit a body."""
    export = ExportTraceServiceRequest()
    for _ in range(resources):
        export.resource_spans.add()
    export.resource_spans[0].MergeFromString(SCOPE * scopes)
    export.resource_spans[0].scope_spans[0].MergeFromString(SPAN * spans)
    return export.SerializeToString()


@pytest.mark.parametrize("part", ["resources", "scopes", "spans"])
def test_an_export_of_countless_empty_parts_is_refused_before_it_is_looked_at(part: str) -> None:
    assert len(otlp.parse(of_many(**{part: otlp.MAX_PARTS - 3}), is_json=False).resource_spans) >= 1
    with pytest.raises(RequestError):
        otlp.parse(of_many(**{part: otlp.MAX_PARTS}), is_json=False)


def test_countless_json_objects_are_refused_before_they_are_parsed() -> None:
    spans = b"{}," * otlp.MAX_JSON_OBJECTS + b"{}"
    with pytest.raises(RequestError, match="too many"):
        otlp.parse(b'{"resourceSpans": [{"scopeSpans": [{"spans": [' + spans + b"]}]}]}", is_json=True)
