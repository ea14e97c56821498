"""Requests to the HTTP face, whatever they ask for: OpenTelemetry's metric of HTTP servers.

https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram
from starlette.types import Scope

from gateway.openai_http import access_log
from gateway.openai_http.access_log import Answered
from trichord.telemetry.exemplars import exemplar

DURATION = Histogram(
    "http_server_request_duration_seconds",
    "Seconds that HTTP requests took, from their headers to the end of their response; the route is a template, or - "
    "for a request that got to none.",
    ["http_request_method", "http_route", "http_response_status_code"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60),
)


@contextmanager
def timed(scope: Scope, answered: Answered) -> Iterator[None]:
    """Around the answer to a request."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        labels = (access_log.method(scope), access_log.route(scope), str(answered.status or ""))
        DURATION.labels(*labels).observe(time.perf_counter() - began_s, exemplar())
