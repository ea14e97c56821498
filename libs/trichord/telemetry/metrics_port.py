"""A port that answers ``GET /metrics`` alone: Prometheus text, or OpenMetrics with exemplars for those who ask for it.

Served by a thread of its own, so that a busy event loop can still be looked into. Knows no metric.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import disable_created_metrics, start_http_server

# When each series began: Prometheus would keep as many series again, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]


@contextmanager
def metrics_port(listen: str) -> Iterator[int]:
    """Answers on ``listen`` (host:port) as long as the block lasts; yields the port.

    An empty ``listen`` opens none and yields 0. Raises OSError if the address is taken.
    """
    if not listen:
        yield 0
        return
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"))
    except (OSError, ValueError) as error:
        raise OSError(f"Cannot listen on {listen}: the address is taken or not this machine's.") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
