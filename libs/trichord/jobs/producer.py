"""Puts messages into the queue, from a thread of its own: nothing here ever blocks an event loop. Knows no job."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from opentelemetry.trace import SpanKind
from prometheus_client import Counter

from trichord.errors import OverloadedError, TrichordError
from trichord.jobs.connection import away, client_options
from trichord.jobs.message import Encoded, Message, encode
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import ensure_topics
from trichord.telemetry import names, spans

log = structlog.get_logger(__name__)

LINGER_S = 0.005
"""Seconds that a message waits for others to its partition."""
CLOSE_S = 1.0
"""Longest that an end waits for the queue."""
HOLD_OFF_S = 1.0
"""Seconds after a connection was refused in which none is tried again: what is sent meanwhile fails at once."""

SENT = Counter(
    "trichord_jobs_messages_sent",
    "Messages to the queue, by topic and by what became of them: sent, away (not taken in time, though it may be "
    "there), or refused (no room in this process, or too large).",
    ["topic", "outcome"],
)


@dataclass(frozen=True)
class _Parcel:
    """A message on its way."""

    topic: str
    key: bytes
    message: Encoded
    deadline_s: float
    """By ``time.monotonic``."""
    taken: concurrent.futures.Future[None]


class QueueProducer:
    """One connection to the queue, made when the first message is there, and again after it was lost.

    Thread-safe. Messages of one key reach their topic in the order in which they were submitted; each is there once,
    on as many brokers as the topic demands (acks=all, idempotent). Topics that are missing are made.
    """

    def __init__(self, settings: JobsSettings) -> None:
        """Connects to nothing yet. Raises SettingsError as ``client_options`` does."""
        self._settings = settings
        self._options = _options(settings)
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._num_waiting, self._end_s = 0, math.inf
        self._client: KafkaProducer | None = None
        self._failed_client: KafkaProducer | None = None
        self._hold_off_until_s = 0.0
        self._thread = threading.Thread(target=self._run, name="queue producer", daemon=True)

    async def send(self, topic: str, key: str, message: Message | Encoded) -> None:
        """Puts a message into ``topic`` and waits until the brokers have it.

        Raises UnavailableError if they did not take it within ``send_timeout_s`` (it may be there all the same) or
        this is closed, and OverloadedError at once if too many wait, or the message is too large.
        """
        attributes = {
            names.MESSAGING_SYSTEM: "kafka",
            names.MESSAGING_OPERATION_NAME: "send",
            names.MESSAGING_OPERATION_TYPE: "send",
            names.MESSAGING_DESTINATION: topic,
        }
        with spans.span(f"send {topic}", SpanKind.PRODUCER, attributes):
            if isinstance(message, Message) and not message.traceparent:
                message = replace(message, traceparent=spans.traceparent())
            taken = asyncio.wrap_future(self.submit(topic, key, message))
            try:
                await asyncio.wait_for(taken, self._settings.send_timeout_s)
            except TimeoutError as error:
                raise away() from error

    def submit(self, topic: str, key: str, message: Message | Encoded) -> concurrent.futures.Future[None]:
        """The same for threads: the future ends as ``send`` does, if some seconds later. Never blocks.

        Raises OverloadedError and, once closed, UnavailableError at once, as ``send`` does.
        """
        encoded = encode(message) if isinstance(message, Message) else message
        deadline_s = time.monotonic() + self._settings.send_timeout_s
        parcel = _Parcel(topic, key.encode(), encoded, deadline_s, concurrent.futures.Future())
        with self._lock:
            if self._end_s < math.inf:
                raise away()
            if self._num_waiting >= self._settings.max_queued_messages:
                SENT.labels(topic, "refused").inc()
                raise OverloadedError("Too many messages wait for the queue. Try again later.", retry_after_s=5.0)
            self._num_waiting += 1
            self._parcels.put(parcel)
            if not self._thread.ident:
                self._thread.start()
        parcel.taken.add_done_callback(self._left)
        return parcel.taken

    async def close(self) -> None:
        """Sends what waits, for CLOSE_S at most; the rest is UnavailableError. May be called again."""
        with self._lock:
            if self._end_s < math.inf:
                return
            self._end_s = time.monotonic() + CLOSE_S
            self._parcels.put(None)
        if self._thread.ident:
            await asyncio.to_thread(self._thread.join, CLOSE_S)

    def _left(self, _: object) -> None:
        with self._lock:
            self._num_waiting -= 1

    # What follows runs on the thread, but for what Kafka's own calls when a message was taken

    def _run(self) -> None:
        while (parcel := self._parcels.get()) is not None:
            if parcel.taken.set_running_or_notify_cancel():
                self._pass_on(parcel)
        if self._client:
            _let_go(self._client, max(0.0, self._end_s - time.monotonic()))

    def _pass_on(self, parcel: _Parcel) -> None:
        client = None
        try:
            client = self._connected(parcel)
            sent = client.send(parcel.topic, parcel.message.value, parcel.key or None, list(parcel.message.headers))
        except Exception as error:  # whatever it is, the caller is told, and the thread goes on
            self._failed(parcel, error, client)
            return
        sent.add_callback(lambda _: self._taken(parcel))
        sent.add_errback(lambda error: self._failed(parcel, error, client))

    def _connected(self, parcel: _Parcel) -> KafkaProducer:
        """The client: a new one after a failure, as topics, or what brokers knew of the last one, may be gone."""
        if not self._hold_off_until_s <= time.monotonic() < min(parcel.deadline_s, self._end_s):
            raise away()
        if self._client and self._client is self._failed_client:
            _let_go(self._client, 0.0)
            self._client = None
        if not self._client:
            try:
                ensure_topics(self._settings)
                self._client = KafkaProducer(**self._options)
            except (KafkaError, OSError, TrichordError):
                self._hold_off_until_s = time.monotonic() + HOLD_OFF_S
                raise
        return self._client

    def _taken(self, parcel: _Parcel) -> None:
        SENT.labels(parcel.topic, "sent").inc()
        parcel.taken.set_result(None)

    def _failed(self, parcel: _Parcel, error: Exception, client: KafkaProducer | None) -> None:
        """``client``: who was to send it, if any."""
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            SENT.labels(parcel.topic, "refused").inc()
            parcel.taken.set_exception(OverloadedError("A message is larger than the queue takes."))
            return
        if client is self._client:  # and no earlier one, which fails what it still had
            self._failed_client = client
        SENT.labels(parcel.topic, "away").inc()
        log.warning("a message was not taken", topic=parcel.topic, error=type(error).__name__)
        parcel.taken.set_exception(error if isinstance(error, TrichordError) else away())


def _let_go(client: KafkaProducer, patience_s: float) -> None:
    """Closes it, and what it could not send in time fails: its own close would only tell so, and leave it running."""
    try:
        client.close(timeout=patience_s)
    except KafkaError:
        client._sender.force_close()


def _options(settings: JobsSettings) -> dict[str, Any]:
    timeout_ms = int(settings.send_timeout_s * 1e3)
    return client_options(settings, "trichord-producer") | {
        "acks": "all",
        "enable_idempotence": True,
        "delivery_timeout_ms": timeout_ms,
        "request_timeout_ms": timeout_ms // 2,
        "max_block_ms": timeout_ms // 2,
        "linger_ms": int(LINGER_S * 1e3),
        "allow_auto_create_topics": False,
        "max_request_size": 1_048_576,
        "metrics_enabled": False,
    }
