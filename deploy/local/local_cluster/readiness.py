"""Whether a process can serve now, as its own protocol tells.

Every question takes a fresh connection: a channel that was refused would wait ever longer before it tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal, assert_never

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from local_cluster.process import Readiness

_TIMEOUT_S = 1.0
_KAFKA_VERSIONS = bytes.fromhex("0000000a 0012 0000 00000001 ffff")
"""An ApiVersionsRequest of version 0: its length, key, version, correlation id, and no client id
(https://kafka.apache.org/protocol)."""


async def is_ready(readiness: Readiness, port: int) -> bool:
    """Whether the server on a loopback port is there and ready."""
    match readiness:
        case "redis":
            return await _answers(port, b"PING\r\n", b"+PONG", b"-NOAU")  # that it wants a password first is one, too
        case "http":
            return await _answers(port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"HTTP/1.1 200 ")
        case "kafka":
            return await _answers(port, _KAFKA_VERSIONS, b"\0\0")  # of an answer's length: few versions are told
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return await _ask(readiness, channel)
        except grpc.aio.AioRpcError:
            return False


async def _answers(port: int, question: bytes, *answers: bytes) -> bool:
    """Whether what comes back begins with one of the answers, which are of one length."""
    with contextlib.suppress(OSError, EOFError):  # TimeoutError is an OSError
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(question)
                return await reader.readexactly(len(answers[0])) in answers
            finally:
                writer.close()
    return False


async def _ask(readiness: Literal["health", "alive", "triton"], channel: grpc.aio.Channel) -> bool:
    match readiness:
        case "health" | "alive":
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
            return readiness == "alive" or bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        case "triton":
            triton: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            return bool((await triton.ServerReady(service_pb2.ServerReadyRequest(), timeout=_TIMEOUT_S)).ready)
        case _:
            assert_never(readiness)
