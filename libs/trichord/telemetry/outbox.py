"""Between the spans of a process and its collector: a bounded number waits, and what became of each is counted.

Nothing here holds up a request: spans leave by a thread, and what finds no room is dropped. Knows no collector.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter

from trichord.telemetry.settings import TelemetrySettings

SPANS = Counter(
    "trichord_telemetry_spans",
    "Spans that the collector took (exported), that it did not take in time (lost), or that found no room (dropped).",
    ["outcome"],
)
for _outcome in ("exported", "lost", "dropped"):
    SPANS.labels(_outcome)  # there from the start: what appears as 1 has not risen, for Prometheus
MAX_EXPORT_BATCH = 512


class Outbox(SpanProcessor):
    """Hands spans to OpenTelemetry's own batches as long as there is room."""

    def __init__(self, exporter: SpanExporter, settings: TelemetrySettings) -> None:
        self._room, self._close_s = _Room(settings.max_queued_spans), settings.export_timeout_s
        self._batches = BatchSpanProcessor(
            _Counting(exporter, self._room),
            max_queue_size=settings.max_queued_spans,
            schedule_delay_millis=settings.export_interval_s * 1e3,
            max_export_batch_size=min(MAX_EXPORT_BATCH, settings.max_queued_spans),
        )

    def on_end(self, span: ReadableSpan) -> None:
        """See ``SpanProcessor``."""
        if self._room.take():
            self._batches.on_end(span)
        else:
            SPANS.labels("dropped").inc()

    def shutdown(self) -> None:
        """Sends what waits, for as long as one export may take; gives the rest up."""
        closing = threading.Thread(target=self._batches.shutdown, name="last spans", daemon=True)
        closing.start()
        closing.join(self._close_s)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See ``SpanProcessor``."""
        return self._batches.force_flush(timeout_millis)


class _Room:
    """Places for spans that wait."""

    def __init__(self, size: int) -> None:
        self._num_free, self._lock = size, threading.Lock()

    def take(self) -> bool:
        """Takes a place if there is one."""
        with self._lock:
            self._num_free -= (has_room := self._num_free > 0)
        return has_room

    def give_back(self, count: int) -> None:
        with self._lock:
            self._num_free += count


class _Counting(SpanExporter):
    """An exporter that counts what became of the spans."""

    def __init__(self, inner: SpanExporter, room: _Room) -> None:
        self._inner, self._room = inner, room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._room.give_back(len(spans))
        result = self._inner.export(spans)
        SPANS.labels("exported" if result is SpanExportResult.SUCCESS else "lost").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()
