"""Spans on their way out: bounded, counted, and never in the way of a process that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import REGISTRY

from tests.otlp_lab import collector
from trichord.telemetry.outbox import Outbox
from trichord.telemetry.settings import TelemetrySettings
from trichord.telemetry.tracing import open_provider

OUTCOMES = ("exported", "lost", "dropped")


class Held(SpanExporter):
    """A collector that hangs until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.reached.set()
        self.go.wait()
        return SpanExportResult.FAILURE


@pytest.fixture
def held() -> Iterator[Held]:
    exporter = Held()
    yield exporter
    exporter.go.set()


def counts() -> dict[str, float]:
    return {o: REGISTRY.get_sample_value("trichord_telemetry_spans_total", {"outcome": o}) or 0 for o in OUTCOMES}


def since(before: dict[str, float]) -> tuple[float, ...]:
    return tuple(counts()[outcome] - before[outcome] for outcome in OUTCOMES)


def make_spans(provider: TracerProvider, count: int) -> None:
    tracer = provider.get_tracer("test")
    for _ in range(count):
        tracer.start_span("span").end()


def settings(**changes: float) -> TelemetrySettings:
    told = {"max_queued_spans": 64, "export_interval_s": 0.01, "export_timeout_s": 0.2, **changes}
    return TelemetrySettings(otlp_url="http://127.0.0.1:1", **told)


def test_what_finds_no_room_is_dropped_and_every_span_is_counted(held: Held) -> None:
    before, provider = counts(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Outbox(held, settings()))
    make_spans(provider, 1)
    assert held.reached.wait(20)
    make_spans(provider, 64 + 10)
    assert since(before) == (0, 0, 10)
    held.go.set()
    provider.force_flush()
    assert since(before) == (0, 65, 10)
    make_spans(provider, 64)
    assert since(before)[2] == 10, "there is room again"


def test_a_collector_that_hangs_does_not_hold_up_the_end(held: Held) -> None:
    before, provider = counts(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Outbox(held, settings()))
    make_spans(provider, 3)
    assert held.reached.wait(20)
    ending = threading.Thread(target=provider.shutdown)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()
    assert not held.go.is_set()
    held.go.set()
    for thread in [thread for thread in threading.enumerate() if thread.name == "last spans"]:
        thread.join(20)
    assert since(before) == (0, 3, 0), "what was given up is counted, too, once that is known"


def test_what_waits_at_the_end_is_sent() -> None:
    before = counts()
    with collector() as receiving:
        told = settings(export_interval_s=60, export_timeout_s=20)
        provider = open_provider("service", told.model_copy(update={"otlp_url": receiving.url}))
        make_spans(provider, 3)
        provider.shutdown()
    assert [(span.service, span.name) for span in receiving.spans] == [("service", "span")] * 3
    assert since(before) == (3, 0, 0)


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0), (1.0, 20)])
def test_the_share_of_requests_that_are_recorded(ratio: float, expected: int) -> None:
    with collector() as receiving:
        told = settings(export_timeout_s=20, sample_ratio=ratio).model_copy(update={"otlp_url": receiving.url})
        provider = open_provider("service", told)
        make_spans(provider, 20)
        provider.shutdown()
    assert len(receiving.spans) == expected


def test_without_a_collector_nothing_is_recorded_and_requests_have_names_all_the_same() -> None:
    provider = open_provider("service", TelemetrySettings())
    span = provider.get_tracer("test").start_span("span")
    assert not span.is_recording()
    assert span.get_span_context().is_valid
