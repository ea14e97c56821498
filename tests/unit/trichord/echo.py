"""A service of one unary and one streaming method whose behaviour a test sets, on the real server library."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trichord import server
from trichord.settings import ServiceSettings
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "trichord.v1.OmniService"

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

SOON_S = 20
"""Longer than anything here takes on a busy machine; reached only when something hangs."""


async def echo(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
    return gateway_pb2.PutMediaResponse(media_handle=request.image_bytes.decode())


async def tell_nothing(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
    yield gateway_pb2.ChatResponse()


class Echo(gateway_pb2_grpc.OmniServiceServicer):
    def __init__(self) -> None:
        self.answer: Callable[[gateway_pb2.PutMediaRequest], Awaitable[gateway_pb2.PutMediaResponse]] = echo
        self.stream: Callable[[gateway_pb2.ChatRequest], AsyncIterator[gateway_pb2.ChatResponse]] = tell_nothing

    async def PutMedia(self, request: gateway_pb2.PutMediaRequest, context: Context) -> gateway_pb2.PutMediaResponse:
        return await self.answer(request)

    async def Chat(self, request: gateway_pb2.ChatRequest, context: Context) -> AsyncIterator[gateway_pb2.ChatResponse]:
        async for response in self.stream(request):
            yield response

    def register(self, grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(self, grpc_server)
        return [SERVICE]


class Served(NamedTuple):
    """A running echo and a client of it."""

    echo: Echo
    running: server.RunningServer
    channel: grpc.aio.Channel
    stub: gateway_pb2_grpc.OmniServiceAsyncStub


@contextlib.asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[Served]:
    service = Echo()
    running = await server.start(service.register, ServiceSettings(**settings))
    channel = server.open_channel(f"127.0.0.1:{running.port}", running.settings.max_message_bytes)
    try:
        yield Served(service, running, channel, gateway_pb2_grpc.OmniServiceStub(channel))
    finally:
        await channel.close()
        await running.server.stop(0)


def said(text: str) -> gateway_pb2.PutMediaRequest:
    return gateway_pb2.PutMediaRequest(image_bytes=text.encode())


async def call(echo: Served, text: str) -> str:
    return (await echo.stub.PutMedia(said(text), timeout=SOON_S)).media_handle


async def check(echo: Served, service: str = "") -> health_pb2.HealthCheckResponse:
    return await health_pb2_grpc.HealthStub(echo.channel).Check(health_pb2.HealthCheckRequest(service=service))


def watch(echo: Served, service: str = "") -> grpc.aio.UnaryStreamCall:  # type: ignore[type-arg]
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(echo.channel).Watch(request, timeout=SOON_S)
