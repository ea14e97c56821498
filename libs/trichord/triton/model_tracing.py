"""Spans of a model inside Triton: whose children they are, and how they leave the model's process.

Knows no model and no torch; is handed Triton's requests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context

from trichord.settings import Backend
from trichord.telemetry import names, spans
from trichord.telemetry.settings import TelemetrySettings
from trichord.telemetry.tracing import open_provider

EXPORT_TIMEOUT_S = 1.0
"""Longest that the last spans may hold up a model that is to end: Triton itself has two seconds."""

Answer = TypeVar("Answer")


class ModelTracing:
    """Of one model process. Without a collector it records nothing."""

    def __init__(self, service: str, device: str, backend: Backend) -> None:
        """Reads TRICHORD_TELEMETRY_*, which a model has from its Triton. Raises SettingsError."""
        told = TelemetrySettings.from_environment()
        timeout_s = min(told.export_timeout_s, EXPORT_TIMEOUT_S)
        self._provider = open_provider(service, told.model_copy(update={"export_timeout_s": timeout_s}))
        trace.set_tracer_provider(self._provider)
        self._attributes: spans.Attributes = {names.DEVICE: device}
        if backend == "simulated":
            self._attributes = {names.SIMULATED: True}

    def batch(
        self, requests: Sequence[Any], units: Sequence[int], work: Callable[[], Sequence[Answer]]
    ) -> Sequence[Answer]:
        """What ``work`` answers to requests that run together; those that are traced get a span of it each.

        ``units`` are each request's share of the batch. An answer may be an exception: that request failed alone.
        """
        began_ns = time.time_ns()
        try:
            answers = work()
        except Exception as error:
            self._record(requests, units, began_ns, [error] * len(requests))
            raise
        self._record(requests, units, began_ns, answers)
        return answers

    def close(self) -> None:
        """Sends what waits, or gives it up."""
        self._provider.shutdown()

    def _record(self, requests: Sequence[Any], units: Sequence[int], began_ns: int, outcomes: Sequence[object]) -> None:
        ended_ns = time.time_ns()
        shared = {**self._attributes, names.BATCH_SIZE: len(requests), names.BATCH_UNITS: sum(units)}
        for request, num_units, outcome in zip(requests, units, outcomes, strict=True):
            parameters = json.loads(request.parameters())
            parent = parent_of(request, parameters)
            if parent is not None:
                record_queue(parameters, began_ns)
                own = {**shared, names.UNITS: num_units}
                error = outcome if isinstance(outcome, Exception) else ""
                spans.record("encode batch", began_ns, ended_ns, own, parent=parent, error=error)


def record_queue(parameters: Mapping[str, Any], began_ns: int) -> None:
    """What a traced request spent on its way into the model: sending, and waiting in Triton for the batch's turn."""
    caller = spans.inbound([(spans.TRACEPARENT, parameters[spans.TRACEPARENT])])
    spans.record("triton queue", min(int(parameters[names.SENT_NS]), began_ns), began_ns, parent=caller)


def parent_of(request: Any, parameters: Mapping[str, Any]) -> Context | None:
    """The span that a request's work is a part of: Triton's own of it, else its caller's. None if it is not traced.

    Triton (24.10) hands requests over before it has noted its span in all of them, up to a third under load.
    """
    if spans.TRACEPARENT not in parameters:
        return None
    own = request.trace().get_context()
    told = json.loads(own) if own else parameters
    parent = spans.inbound([(spans.TRACEPARENT, told[spans.TRACEPARENT])])
    return parent if spans.is_sampled(parent) else None
