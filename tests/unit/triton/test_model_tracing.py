"""Spans inside a model: whose children they are, and what they say of a batch."""

from __future__ import annotations

import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from tests.spans_lab import RecordedSpans
from trichord.errors import RequestError
from trichord.telemetry import names, spans
from trichord.triton import model_tracing
from trichord.triton.model_tracing import ModelTracing, parent_of

SENT_NS = 1_000_000_000


def asked(traceparent: str = "", own: str = "") -> SimpleNamespace:
    """A request as the Python backend brings it; ``own`` is Triton's span of it."""
    told = {spans.TRACEPARENT: traceparent, names.SENT_NS: SENT_NS}
    parameters = {"timeout": 5} | (told if traceparent else {})
    context = json.dumps({spans.TRACEPARENT: own}) if own else None
    return SimpleNamespace(
        parameters=lambda: json.dumps(parameters), trace=lambda: SimpleNamespace(get_context=lambda: context)
    )


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> ModelTracing:
    """Of a model without a collector, in a process that has a provider already."""
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    monkeypatch.delenv("TRICHORD_TELEMETRY_OTLP_URL", raising=False)
    return ModelTracing("a-model", "cuda:1", "torch")


def caller(name: str) -> str:
    with spans.span(name):
        return spans.traceparent()


def test_each_traced_request_of_a_batch_has_its_span(recorded_spans: RecordedSpans, tracing: ModelTracing) -> None:
    requests = [asked(caller("front a")), asked(), asked(caller("front b"), own=caller("triton b"))]
    assert tracing.batch(requests, [3, 1, 2], lambda: ["x", "y", "z"]) == ["x", "y", "z"]
    assert [pair for pair in recorded_spans.tree() if pair[1]] == [
        ("encode batch", "front a"),
        ("encode batch", "triton b"),
        ("triton queue", "front a"),
        ("triton queue", "front b"),
    ]
    first, second = recorded_spans.named("encode batch")
    shared = {names.DEVICE: "cuda:1", names.BATCH_SIZE: 3, names.BATCH_UNITS: 6}
    assert (first.attributes, second.attributes) == ({**shared, names.UNITS: 3}, {**shared, names.UNITS: 2})
    assert first.start_time == second.start_time <= first.end_time <= time.time_ns()
    queues = recorded_spans.named("triton queue")
    assert [(queue.start_time, queue.end_time) for queue in queues] == [(SENT_NS, first.start_time)] * 2


def test_who_fails_alone_fails_alone(recorded_spans: RecordedSpans, tracing: ModelTracing) -> None:
    error = RequestError("a secret", field="PCM")
    tracing.batch([asked(caller("a")), asked(caller("b"))], [1, 1], lambda: [error, "rows"])
    failed, served = recorded_spans.named("encode batch")
    assert failed.attributes[names.ERROR_TYPE] == RequestError.reason
    assert served.status.status_code is StatusCode.UNSET
    assert "secret" not in failed.to_json()


def test_a_model_that_fails_fails_everybody(recorded_spans: RecordedSpans, tracing: ModelTracing) -> None:
    def work() -> list[str]:
        raise MemoryError("a secret")

    with pytest.raises(MemoryError):
        tracing.batch([asked(caller("a")), asked(caller("b"))], [1, 1], work)
    types = [span.attributes[names.ERROR_TYPE] for span in recorded_spans.named("encode batch")]
    assert types == ["MemoryError"] * 2


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", f"00-{'1' * 32}-{'2' * 16}-00"], ids=["none", "nonsense", "not sampled"]
)
def test_who_is_not_traced_has_no_parent(traceparent: str) -> None:
    request = asked(traceparent)
    assert parent_of(request, json.loads(request.parameters())) is None


def test_a_simulated_model_says_so(monkeypatch: pytest.MonkeyPatch, recorded_spans: RecordedSpans) -> None:
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    tracing = ModelTracing("a-model", "cpu", "simulated")
    tracing.batch([asked(caller("a"))], [1], lambda: ["x"])
    attributes = recorded_spans.one("encode batch").attributes
    assert attributes[names.SIMULATED]
    assert names.DEVICE not in attributes


def test_a_collector_that_hangs_holds_no_model_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections (the kernel does) and never answers; the model's own limit is shorter than the setting's."""
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    monkeypatch.setattr(model_tracing, "EXPORT_TIMEOUT_S", 0.05)
    monkeypatch.setenv("TRICHORD_TELEMETRY_EXPORT_TIMEOUT_S", "60")
    with socket.create_server(("127.0.0.1", 0)) as collector:
        monkeypatch.setenv("TRICHORD_TELEMETRY_OTLP_URL", f"http://127.0.0.1:{collector.getsockname()[1]}")
        tracing = ModelTracing("a-model", "cpu", "torch")
        tracing._provider.get_tracer("test").start_span("span").end()
        closing = threading.Thread(target=tracing.close)
        closing.start()
        closing.join(20)
        assert not closing.is_alive()
