"""Triton's own metrics, on the page of the front beside it: one page a pod.

Asked for at each scrape, bounded in bytes and in time; whatever Triton answers, the front's own metrics are told. Only
families that begin as Triton's do are taken, so that none can clash with ours. Knows no metric by its whole name.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

PREFIXES = ("nv_", "trichord_engine_")
"""What Triton's own families begin with, and those that the decode engine adds to them."""
MAX_PAGE_BYTES = 1 << 20
"""Some thirty times the page of a Triton with three models and eight GPUs."""
TIMEOUT_S = 2.0
"""For the whole page; a scrape may take ten seconds by default."""

_TYPES = ("counter", "gauge", "histogram", "summary")
_FIGURES = ("le", "quantile")
"""Labels that are numbers, which OpenMetrics wants written with a point."""
_COUNTER_BY_ANOTHER_NAME = re.compile(r"^(# TYPE \S+(?<!_total)) counter\s*$", re.MULTILINE)


class TritonPage(Collector):
    """The families of the page at ``url``, and whether it could be read."""

    def __init__(self, url: str) -> None:
        self._url = url

    def describe(self) -> Iterable[Metric]:
        """What is there whatever Triton says; asks nothing."""
        return [_up()]

    def collect(self) -> Iterator[Metric]:
        """See the module."""
        try:
            families = list(parse(fetch(self._url).decode()))
        except Exception:  # the parser stumbles in many ways, and a page that cannot be read must not spoil ours
            yield _up(0)
            return
        yield _up(1)
        yield from families


@contextmanager
def carried(url: str, registry: CollectorRegistry = REGISTRY) -> Iterator[None]:
    """Has this process's page carry Triton's as long as the block lasts; an empty ``url`` names none."""
    if not url:
        yield
        return
    page = TritonPage(url)
    registry.register(page)
    try:
        yield
    finally:
        registry.unregister(page)


def fetch(url: str) -> bytes:
    """The page's bytes. Raises OSError or HTTPException if it does not come in time, whole, and within bounds."""
    parts, end_s = urlsplit(url), time.monotonic() + TIMEOUT_S
    with socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT_S) as connection:
        # Of version 1.0, so that the answer ends with the connection.
        connection.sendall(f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {parts.netloc}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(cast(socket.socket, _Received(_all(connection, end_s))))
    answer.begin()
    if answer.status != http.client.OK:
        raise OSError(f"Triton's metrics are not there (HTTP {answer.status}).")
    return answer.read()


def parse(text: str) -> Iterator[Metric]:
    """The families of a page in Prometheus's text format, as they may be told in both formats under their own names.

    OpenMetrics calls every counter ``_total``. Triton's own are not called so, and are told as of no known type: under
    another name no dashboard of Triton's would find them. Raises anything for what is no such page.
    """
    seen = set()
    for family in text_string_to_metric_families(_COUNTER_BY_ANOTHER_NAME.sub(r"\1 untyped", text)):
        if family.name.startswith(PREFIXES) and family.name not in seen:
            seen.add(family.name)
            yield _told(family)


def _told(family: Metric) -> Metric:
    told = Metric(family.name, family.documentation, family.type if family.type in _TYPES else "unknown")
    for sample in family.samples:
        labels = {name: _figure(value) if name in _FIGURES else value for name, value in sample.labels.items()}
        told.add_sample(sample.name, labels, float(sample.value))
    return told


def _figure(value: str) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


def _up(value: float | None = None) -> Metric:
    return GaugeMetricFamily(
        "trichord_triton_up", "Whether this pod's Triton told its metrics at this scrape, 1 or 0.", value=value
    )


class _Received:
    """What was received, as ``HTTPResponse`` wants to read it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        """See ``socket.socket``."""
        return io.BytesIO(self._data)


def _all(connection: socket.socket, end_s: float) -> bytes:
    """Everything until the other side closes. Raises OSError if that is too much or takes too long."""
    received = bytearray()
    while len(received) <= MAX_PAGE_BYTES:
        connection.settimeout(max(end_s - time.monotonic(), 1e-3))
        part = connection.recv(1 << 16)
        if not part:
            return bytes(received)
        received += part
    raise OSError("Triton's page of metrics is too long.")
