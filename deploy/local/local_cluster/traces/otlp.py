"""OTLP's ExportTraceServiceRequest, protobuf or JSON, to spans; texts are made printable and short.

OpenTelemetry Protocol 1.x (https://opentelemetry.io/docs/specs/otlp/): in its JSON ids are hex and not base64, and
int64 are texts. Spans are untrusted: whoever reaches a gateway has some say in them.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from local_cluster.traces.span import Attributes, Event, Link, Scalar, Span, Value
from trichord.errors import RequestError

MAX_NAME_CHARS, MAX_VALUE_CHARS = 128, 512
MAX_ATTRIBUTES, MAX_EVENTS, MAX_LINKS, MAX_ITEMS = 64, 128, 16, 32
MAX_PARTS = 20_000
"""Spans, resources and scopes of one export, all together; exporters send some hundred."""
MAX_JSON_OBJECTS = 10 * MAX_PARTS
_MAX_EXACT = 1 << 53
"""Beyond this, JSON's numbers are not exact."""
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
_JSON_IDS = {"traceId", "spanId", "parentSpanId"}


def parse(body: bytes, is_json: bool) -> ExportTraceServiceRequest:
    """The request. Raises RequestError if it is none, or one whose parts would take seconds to look at."""
    request = _parsed(body, is_json)
    scopes = [scope for resource in request.resource_spans[:MAX_PARTS] for scope in resource.scope_spans[:MAX_PARTS]]
    if len(request.resource_spans) + len(scopes) + sum(len(scope.spans) for scope in scopes) > MAX_PARTS:
        raise _too_many()
    return request


def _too_many() -> RequestError:
    return RequestError("The export has too many spans, resources or scopes. Send fewer at once.")


def _parsed(body: bytes, is_json: bool) -> ExportTraceServiceRequest:
    if is_json and body.count(b"{") > MAX_JSON_OBJECTS:
        raise _too_many()
    try:
        if not is_json:
            return ExportTraceServiceRequest.FromString(body)
        document = json.loads(body, object_hook=_with_base64_ids)
        return json_format.ParseDict(document, ExportTraceServiceRequest(), ignore_unknown_fields=True)
    except (DecodeError, json_format.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RequestError("The body is no ExportTraceServiceRequest of OTLP.") from error


def spans(request: ExportTraceServiceRequest) -> Iterator[Span | None]:
    """Every span of a request; None for one without ids or a time, which belongs nowhere."""
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        service = str(resource.get("service.name", "")) or "unknown"
        instance = str(resource.get("service.instance.id", ""))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, service, instance) if _has_its_place(span) else None


def _with_base64_ids(told: dict[str, Any]) -> dict[str, Any]:
    """An object of OTLP's JSON as protobuf's own JSON has it."""
    for name in _JSON_IDS & told.keys():
        told[name] = base64.b64encode(bytes.fromhex(told[name])).decode()
    return told


def _has_its_place(span: trace_pb2.Span) -> bool:
    is_named = len(span.trace_id) == _TRACE_ID_BYTES and len(span.span_id) == _SPAN_ID_BYTES
    return is_named and any(span.trace_id) and any(span.span_id) and span.start_time_unix_nano > 0


def _span(span: trace_pb2.Span, service: str, instance: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id[:_SPAN_ID_BYTES].hex() if any(span.parent_span_id) else "",
        name=printable(span.name, MAX_NAME_CHARS) or "unnamed",
        service=service[:MAX_NAME_CHARS],
        instance=instance[:MAX_NAME_CHARS],
        kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else _KINDS[0],
        start_ns=span.start_time_unix_nano,
        end_ns=max(span.start_time_unix_nano, span.end_time_unix_nano),
        is_failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        events=tuple(_events(span)),
        links=tuple(_links(span)),
    )


def _events(span: trace_pb2.Span) -> Iterator[Event]:
    for event in span.events[:MAX_EVENTS]:
        yield Event(printable(event.name, MAX_NAME_CHARS), event.time_unix_nano, _attributes(event.attributes))


def _links(span: trace_pb2.Span) -> Iterator[Link]:
    for link in span.links[:MAX_LINKS]:
        yield Link(link.trace_id[:_TRACE_ID_BYTES].hex(), link.span_id[:_SPAN_ID_BYTES].hex())


def _attributes(attributes: Iterable[KeyValue]) -> Attributes:
    first = itertools.islice(attributes, MAX_ATTRIBUTES)
    return {printable(attribute.key, MAX_NAME_CHARS): _value(attribute.value) for attribute in first}


def _value(value: AnyValue) -> Value:
    if value.WhichOneof("value") == "array_value":
        return [_scalar(item) for item in value.array_value.values[:MAX_ITEMS]]
    return _scalar(value)


def _scalar(value: AnyValue) -> Scalar:
    match value.WhichOneof("value"):
        case "string_value":
            return printable(value.string_value, MAX_VALUE_CHARS)
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value if abs(value.int_value) <= _MAX_EXACT else str(value.int_value)
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case None:
            return ""
    return "(not shown)"


def printable(text: str, max_chars: int) -> str:
    """The text on one line, without characters that a terminal or a reader could be led astray by; cut off if long."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: max_chars + 1])
    return shown if len(shown) <= max_chars else shown[: max_chars - 1] + "…"
