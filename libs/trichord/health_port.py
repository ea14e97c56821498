"""A second port that answers health checks alone, in plaintext: for probes that speak neither TLS nor keys.

Kubernetes' own gRPC probe is such a one. Knows nothing of what the health is of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2_grpc

from trichord.health import HealthServicer

MAX_CHECKS = 64
"""Checks in progress at once."""


@asynccontextmanager
async def health_port(servicer: HealthServicer, listen: str) -> AsyncIterator[int]:
    """Answers for ``servicer`` on ``listen`` (host:port) as long as the block lasts; yields the port.

    An empty ``listen`` opens none and yields 0. Raises OSError if the address is taken.
    """
    if not listen:
        yield 0
        return
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=MAX_CHECKS)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {listen}: the address is taken or not this machine's.") from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
