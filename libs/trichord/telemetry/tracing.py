"""Sets up tracing in a process: which requests are recorded, and how spans leave it.

Export never holds up a request, nor a process that ends (outbox.py).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

import trichord
from trichord.telemetry.outbox import Outbox
from trichord.telemetry.settings import TelemetrySettings

LIMITS = SpanLimits(max_span_attributes=64, max_events=128, max_links=32, max_span_attribute_length=256)


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
        provider.add_span_processor(Outbox(_exporter(settings), settings))
    return provider


def _exporter(settings: TelemetrySettings) -> OTLPSpanExporter:
    return OTLPSpanExporter(endpoint=settings.otlp_url.rstrip("/") + "/v1/traces", timeout=settings.export_timeout_s)


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
