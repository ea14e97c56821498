"""Messages of the queue: there and back, and nothing else is taken for one."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf import proto
from hypothesis import given
from hypothesis import strategies as st

from trichord.errors import OverloadedError, RequestError
from trichord.jobs.message import (
    MAX_MESSAGE_BYTES,
    History,
    Message,
    Origin,
    body_as,
    decode,
    delimited,
    encode,
    split_delimited,
)
from trichord.v1 import jobs_pb2

ITEM = jobs_pb2.QueuedItem(tenant="acme", job_id="job_1", index=7)
TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
_times = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
_histories = st.builds(
    History,
    attempts=st.integers(0, 10**6),
    first_failure_time=st.none() | _times,
    error_code=st.just("") | _words,
    error_message=st.just("") | _words,
    not_before=st.none() | _times,
    origin=st.none() | st.builds(Origin, _words, st.integers(0, 2**31 - 1), st.integers(0, 10**17)),
)


@given(_histories, st.sampled_from(["", TRACEPARENT]))
def test_what_is_sent_is_what_comes(history: History, traceparent: str) -> None:
    message = Message(ITEM, history, traceparent)
    encoded = encode(message)
    assert decode(encoded.value, encoded.headers) == message


@pytest.mark.parametrize("body", [ITEM, jobs_pb2.ItemEnded(tenant="acme"), jobs_pb2.UsageEvent(request_id="r")])
def test_headers_say_what_the_value_is(body: jobs_pb2.QueuedItem) -> None:
    encoded = encode(Message(body))
    assert dict(encoded.headers) == {
        "content-type": b"application/x-protobuf",
        "type": body.DESCRIPTOR.full_name.encode(),
        "schema-version": b"1",
    }
    assert encoded.value == body.SerializeToString()
    assert decode(encoded.value, encoded.headers).body == body


def test_times_are_told_with_their_zone() -> None:
    moment = datetime(2026, 11, 22, 10, 0, tzinfo=timezone(timedelta(hours=1)))
    encoded = encode(Message(ITEM, History(not_before=moment)))
    assert dict(encoded.headers)["not-before"] == b"2026-11-22T09:00:00+00:00"
    assert decode(encoded.value, encoded.headers).history.not_before == moment


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", b"trichord.v1.Job"),
        ("type", None),
        ("type", b"\xff"),
        ("schema-version", b"2"),
        ("schema-version", None),
        ("content-type", b"application/json"),
        ("attempts", b"-1"),
        ("attempts", b"1e3"),
        ("attempts", b"9" * 19),
        ("not-before", b"tomorrow"),
        ("not-before", b"2026-11-22T09:00:00"),
        ("first-failure-time", b""),
        ("error-message", b"x" * 5000),
        ("origin-offset", b"x"),
    ],
)
def test_headers_that_are_not_known_are_refused(name: str, value: bytes | None) -> None:
    good = dict(encode(Message(ITEM, History(origin=Origin("t", 0, 1)))).headers)
    headers = [*(good | {name: value}).items()]
    with pytest.raises(RequestError) as raised:
        decode(ITEM.SerializeToString(), headers)
    assert raised.value.field == name


@pytest.mark.parametrize("value", [None, b"\xff\xff", bytes(MAX_MESSAGE_BYTES + 1)])
def test_values_that_are_none_are_refused(value: bytes | None) -> None:
    with pytest.raises(RequestError) as raised:
        decode(value, encode(Message(ITEM)).headers)
    assert raised.value.field == "value"


def test_headers_of_others_are_left_alone() -> None:
    headers = [*encode(Message(ITEM)).headers, ("b3", b"\xff" * 9000), ("empty", None)]
    assert decode(ITEM.SerializeToString(), headers) == Message(ITEM)
    with pytest.raises(RequestError, match="65 headers"):
        decode(ITEM.SerializeToString(), [("x", b"")] * 65)


@pytest.mark.parametrize("traceparent", ["nonsense", TRACEPARENT.upper(), "00-" + "0" * 32 + "-" + "b" * 16 + "-01"])
def test_a_broken_trace_is_none(traceparent: str) -> None:
    headers = [*encode(Message(ITEM)).headers, ("traceparent", traceparent.encode())]
    assert decode(ITEM.SerializeToString(), headers).traceparent == ""


def test_what_the_queue_would_not_take_is_refused_here() -> None:
    big = jobs_pb2.QueuedItem(tenant="x" * MAX_MESSAGE_BYTES)
    with pytest.raises(OverloadedError, match="the queue takes 1000000"):
        encode(Message(big))


def test_an_error_is_told_in_short() -> None:
    encoded = encode(Message(ITEM, History(error_message="€" * 5000)))
    assert decode(encoded.value, encoded.headers).history.error_message == "€" * 1024


def test_a_body_is_of_the_kind_of_its_topic() -> None:
    assert body_as(Message(ITEM), jobs_pb2.QueuedItem) is ITEM
    with pytest.raises(RequestError, match=r"trichord\.v1\.QueuedItem where there are trichord\.v1\.UsageEvent"):
        body_as(Message(ITEM), jobs_pb2.UsageEvent)


@given(st.binary(max_size=300), st.lists(st.tuples(_words, st.none() | st.binary(max_size=40)), max_size=5))
def test_nothing_else_is_raised_of_what_comes(value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    with pytest.raises(RequestError):
        decode(value, headers)


_items = st.lists(st.builds(jobs_pb2.JobItem, custom_id=st.text(max_size=300)), max_size=70)


@given(_items)
def test_messages_in_a_row_are_protobuf_delimited(items: list[jobs_pb2.JobItem]) -> None:
    data = delimited(items)
    assert split_delimited(jobs_pb2.JobItem, data) == items
    stream = io.BytesIO(data)
    assert [proto.parse_length_prefixed(jobs_pb2.JobItem, stream) for _ in items] == items


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        found = split_delimited(jobs_pb2.JobItem, data)
    except RequestError:
        return
    assert len(found) <= len(data)
