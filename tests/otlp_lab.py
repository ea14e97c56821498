"""A collector for tests: takes spans by OTLP/HTTP, protobuf (the Python SDK) and JSON (Triton), and keeps them all."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span(NamedTuple):
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty at a root."""
    start_ns: int
    end_ns: int
    is_error: bool
    attributes: dict[str, Any]
    events: list[str]
    links: list[str]
    """Trace ids."""


class Collector:
    """What has arrived so far."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []
        """As they came, unzipped."""

    def take(self, body: bytes, is_json: bool) -> None:
        self.bodies.append(body)
        self.spans += _json_spans(json.loads(body)) if is_json else _spans(ExportTraceServiceRequest.FromString(body))

    def trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def until(self, trace_id: str, is_there: Callable[[list[Span]], bool], timeout_s: float = 60) -> list[Span]:
        """The spans of a trace, once ``is_there`` says that all have come."""
        end_s = time.monotonic() + timeout_s
        while not is_there(spans := self.trace(trace_id)):
            assert time.monotonic() < end_s, f"still missing after {timeout_s} s; there are {outline(spans)}"
            time.sleep(0.1)
        return spans


def outline(spans: list[Span]) -> str:
    """The tree as indented text, children in the order in which they began; orphans under their parent's id."""
    ids = {span.span_id for span in spans}

    def lines(parent: str, depth: int) -> Iterator[str]:
        for span in sorted((s for s in spans if s.parent_id == parent), key=lambda s: s.start_ns):
            yield f"{'  ' * depth}{span.service}: {span.name}{' !' if span.is_error else ''}"
            yield from lines(span.span_id, depth + 1)

    roots = sorted({span.parent_id for span in spans} - ids)
    return "\n".join(line for root in roots for line in ([f"? {root}"] if root else []) + list(lines(root, bool(root))))


@contextmanager
def collector() -> Iterator[Collector]:
    """Serves on a free port of loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            taken.take(body, "json" in self.headers["content-type"])
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    taken = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield Span(
                service,
                span.name,
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.start_time_unix_nano,
                span.end_time_unix_nano,
                span.status.code == span.status.STATUS_CODE_ERROR,
                _values(span.attributes),
                [event.name for event in span.events],
                [link.trace_id.hex() for link in span.links],
            )


def _values(attributes: Any) -> dict[str, Any]:
    return {
        attribute.key: getattr(attribute.value, attribute.value.WhichOneof("value") or "string_value")
        for attribute in attributes
    }


def _json_spans(request: dict[str, Any]) -> Iterator[Span]:
    """Ids are in hex and int64 in text: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding."""
    for resource in request["resourceSpans"]:
        service = _json_values(resource["resource"]["attributes"])["service.name"]
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            yield Span(
                service,
                span["name"],
                span["traceId"],
                span["spanId"],
                span.get("parentSpanId", ""),
                int(span["startTimeUnixNano"]),
                int(span["endTimeUnixNano"]),
                span.get("status", {}).get("code") in (2, "STATUS_CODE_ERROR"),
                _json_values(span.get("attributes", [])),
                [event["name"] for event in span.get("events", [])],
                [link["traceId"] for link in span.get("links", [])],
            )


def _json_values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {attribute["key"]: next(iter(attribute["value"].values()), "") for attribute in attributes}
