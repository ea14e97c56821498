"""Sets up tracing in a process: which requests are recorded, and how spans leave it.

Export never holds up a request: spans wait in a bounded queue that a thread empties, and what does not fit, or what the
collector does not take in time, is dropped and counted (``trichord_telemetry_spans_total``).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from prometheus_client import Counter

import trichord
from trichord.telemetry.settings import TelemetrySettings

SPANS = Counter(
    "trichord_telemetry_spans", "Spans that were handed to the collector, or that it did not take.", ["outcome"]
)
MAX_EXPORT_BATCH = 512
LIMITS = SpanLimits(max_span_attributes=64, max_events=128, max_links=32, max_span_attribute_length=256)


class CountingExporter(SpanExporter):
    """An exporter that counts what became of the spans."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See ``SpanExporter``."""
        result = self._inner.export(spans)
        SPANS.labels("exported" if result is SpanExportResult.SUCCESS else "lost").inc(len(spans))
        return result

    def shutdown(self) -> None:
        """See ``SpanExporter``."""
        self._inner.shutdown()


@contextmanager
def tracing(service: str, settings: TelemetrySettings) -> Iterator[None]:
    """Records the spans of this process, as ``service``'s, within the block; at its end what waits is sent.

    Once in a process: OpenTelemetry has one provider.
    """
    provider = open_provider(service, settings)
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()


def open_provider(service: str, settings: TelemetrySettings) -> TracerProvider:
    """What makes spans. Without a collector it records none, and still gives every request a trace id."""
    provider = TracerProvider(
        resource=_resource(service), sampler=_sampler(settings), span_limits=LIMITS, shutdown_on_exit=False
    )
    if settings.otlp_url:
        # The SDK tells of every lost batch, once a second while the collector is away; the counter says it better.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        provider.add_span_processor(_processor(settings))
    return provider


def _processor(settings: TelemetrySettings) -> BatchSpanProcessor:
    exporter = OTLPSpanExporter(
        endpoint=settings.otlp_url.rstrip("/") + "/v1/traces", timeout=settings.export_timeout_s
    )
    return BatchSpanProcessor(
        CountingExporter(exporter),
        max_queue_size=settings.max_queued_spans,
        schedule_delay_millis=settings.export_interval_s * 1e3,
        max_export_batch_size=min(MAX_EXPORT_BATCH, settings.max_queued_spans),
        export_timeout_millis=settings.export_timeout_s * 1e3,
    )


def _sampler(settings: TelemetrySettings) -> Sampler:
    return ParentBased(TraceIdRatioBased(settings.sample_ratio)) if settings.otlp_url else ALWAYS_OFF


def _resource(service: str) -> Resource:
    return Resource.create(
        {
            "service.name": service,
            "service.namespace": "trichord",
            "service.version": trichord.__version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )
