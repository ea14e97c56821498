"""Messages of the queue: a protobuf value, and headers that say which, of which version, and what it went through.

Whatever comes from the queue is bounded and checked: what is not known is a RequestError, never a guess; headers of
others are left alone. Knows no topic and no client.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from google.protobuf import proto
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from trichord.errors import OverloadedError, RequestError
from trichord.v1 import jobs_pb2

SCHEMA_VERSION = 1
"""Of the values below: another one is not read."""
CONTENT_TYPE = "application/x-protobuf"
MAX_MESSAGE_BYTES = 1_000_000
"""Largest message in bytes, headers included: below the 1 048 588 that brokers take unless told otherwise."""
MAX_HEADERS = 64
MAX_ERROR_CHARS = 1024

Body = jobs_pb2.QueuedItem | jobs_pb2.ItemEnded | jobs_pb2.UsageEvent
B = TypeVar("B", bound=ProtobufMessage)
Headers = tuple[tuple[str, bytes], ...]

_KINDS: dict[str, type[Body]] = {
    kind.DESCRIPTOR.full_name: kind for kind in (jobs_pb2.QueuedItem, jobs_pb2.ItemEnded, jobs_pb2.UsageEvent)
}
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """Where a message was read that was then put elsewhere."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class History:
    """What became of a message before: empty for one that is new."""

    attempts: int = 0
    """Times that it was tried."""
    first_failure_time: datetime | None = None
    error_code: str = ""
    """gRPC's name of what went wrong last, e.g. UNAVAILABLE."""
    error_message: str = ""
    """For people; at most MAX_ERROR_CHARS are kept."""
    not_before: datetime | None = None
    """When it may be tried again."""
    origin: Origin | None = None
    """Where it was read first."""


@dataclass(frozen=True)
class Message:
    """What is sent."""

    body: Body
    history: History = History()
    traceparent: str = ""
    """W3C; empty: the producer puts that of its own span."""


@dataclass(frozen=True)
class Encoded:
    """A message as the queue carries it; also one that cannot be read and is passed on as it is."""

    value: bytes
    headers: Headers

    @property
    def num_bytes(self) -> int:
        """All of it."""
        return len(self.value) + sum(len(name) + len(value) for name, value in self.headers)


def encode(message: Message) -> Encoded:
    """As bytes. Raises OverloadedError if it is larger than the queue takes, MAX_MESSAGE_BYTES."""
    headers = {
        "content-type": CONTENT_TYPE,
        "type": message.body.DESCRIPTOR.full_name,
        "schema-version": str(SCHEMA_VERSION),
        "traceparent": message.traceparent,
    } | _history_headers(message.history)
    encoded = Encoded(
        message.body.SerializeToString(deterministic=True),
        tuple((name, value.encode()) for name, value in headers.items() if value),
    )
    if encoded.num_bytes > MAX_MESSAGE_BYTES:
        raise OverloadedError(f"A message has {encoded.num_bytes} bytes; the queue takes {MAX_MESSAGE_BYTES}.")
    return encoded


def decode(value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Message:
    """Back. Raises RequestError, ``field`` the header or ``value``, for what is not known, too large or malformed."""
    if len(headers) > MAX_HEADERS:
        raise RequestError(f"A message has {len(headers)} headers, more than {MAX_HEADERS}.", field="headers")
    known = {name: _text(name, raw) for name, raw in headers if raw is not None and name in _NAMES}
    _must_be(known, "content-type", CONTENT_TYPE)
    _must_be(known, "schema-version", str(SCHEMA_VERSION))
    traceparent = known.get("traceparent", "")
    return Message(
        _body(known.get("type", ""), value),
        _history(known),
        traceparent if _TRACEPARENT.fullmatch(traceparent) else "",  # as W3C wants it: a bad one is none
    )


def body_as(message: Message, kind: type[B]) -> B:
    """The body, which must be of ``kind``; raises RequestError if it is another: it lies in the wrong topic."""
    if not isinstance(message.body, kind):
        found, wanted = message.body.DESCRIPTOR.full_name, kind.DESCRIPTOR.full_name
        raise RequestError(f"A message is a {found} where there are {wanted} alone.", field="type")
    return message.body


def delimited(messages: Sequence[ProtobufMessage]) -> bytes:
    """Messages one after another, each with its length as a varint before it (protobuf's "delimited" form)."""
    out = io.BytesIO()
    for message in messages:
        proto.serialize_length_prefixed(message, out)
    return out.getvalue()


def split_delimited(kind: type[B], data: bytes) -> list[B]:
    """Back. Raises RequestError if they are no such messages."""
    stream, messages = io.BytesIO(data), []
    try:
        while stream.tell() < len(data):
            messages.append(proto.parse_length_prefixed(kind, stream))
    except (DecodeError, ValueError, OverflowError) as error:
        raise RequestError("Messages in a row do not end where their lengths say.") from error
    return messages


def _history_headers(history: History) -> dict[str, str]:
    headers = {
        "attempts": str(history.attempts or ""),
        "first-failure-time": _time_text(history.first_failure_time),
        "error-code": history.error_code,
        "error-message": history.error_message[:MAX_ERROR_CHARS],
        "not-before": _time_text(history.not_before),
    }
    if origin := history.origin:
        place = {"origin-partition": str(origin.partition), "origin-offset": str(origin.offset)}
        headers |= {"origin-topic": origin.topic} | place
    return headers


_NAMES = frozenset(
    (
        "content-type",
        "type",
        "schema-version",
        "traceparent",
        "attempts",
        "first-failure-time",
        "not-before",
        "error-code",
        "error-message",
        "origin-topic",
        "origin-partition",
        "origin-offset",
    )
)


def _history(known: dict[str, str]) -> History:
    origin = None
    if "origin-topic" in known:
        place = _number(known, "origin-partition"), _number(known, "origin-offset")
        origin = Origin(known["origin-topic"], *place)
    return History(
        _number(known, "attempts"),
        _time(known, "first-failure-time"),
        known.get("error-code", ""),
        known.get("error-message", "")[:MAX_ERROR_CHARS],
        _time(known, "not-before"),
        origin,
    )


def _body(name: str, value: bytes | None) -> Body:
    kind = _KINDS.get(name)
    if kind is None:
        raise RequestError("A message is of a type that is not known here.", field="type")
    if value is None or len(value) > MAX_MESSAGE_BYTES:
        raise RequestError("A message has no value, or one that is too large.", field="value")
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise RequestError(f"A message's value is no {name}.", field="value") from error


def _must_be(known: dict[str, str], name: str, wanted: str) -> None:
    if known.get(name) != wanted:
        raise RequestError(f"A message's {name} is not {wanted}.", field=name)


def _text(name: str, raw: bytes) -> str:
    try:
        if len(raw) <= 4 * MAX_ERROR_CHARS:
            return raw.decode()
    except UnicodeDecodeError:
        pass
    raise RequestError(f"A message's {name} is too long, or no UTF-8.", field=name)


def _number(known: dict[str, str], name: str) -> int:
    text = known.get(name, "0")
    if not _NUMBER.fullmatch(text):
        raise RequestError(f"A message's {name} is no number.", field=name)
    return int(text)


def _time_text(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat() if moment else ""


def _time(known: dict[str, str], name: str) -> datetime | None:
    if name not in known:
        return None
    try:
        moment = datetime.fromisoformat(known[name])
        if moment.tzinfo:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RequestError(f"A message's {name} is no time with its zone.", field=name)
