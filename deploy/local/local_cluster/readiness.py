"""Whether a process can serve now, as its own protocol tells.

Every question takes a fresh connection: a channel that was refused would wait ever longer before it tries again.
"""

from __future__ import annotations

from typing import Any, assert_never

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from local_cluster.topology import Readiness

_TIMEOUT_S = 1.0


async def is_ready(readiness: Readiness, port: int) -> bool:
    """Whether the server on a loopback port is there and ready."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return await _ask(readiness, channel)
        except grpc.aio.AioRpcError:
            return False


async def _ask(readiness: Readiness, channel: grpc.aio.Channel) -> bool:
    match readiness:
        case "health":
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        case "triton":
            triton: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            return bool((await triton.ServerReady(service_pb2.ServerReadyRequest(), timeout=_TIMEOUT_S)).ready)
        case _:
            assert_never(readiness)
