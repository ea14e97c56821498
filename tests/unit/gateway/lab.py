"""A gateway on loopback in front of fake services, and short ways to say what a client sends and sees."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from gateway.admission.settings import AdmissionSettings
from gateway.cluster import Cluster, ClusterSettings, connect
from gateway.fetch.settings import FetchSettings
from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.opening import open_guard
from gateway.identity.settings import AuthSettings
from gateway.routing.settings import RoutingSettings
from gateway.service import OmniService
from gateway.settings import GatewaySettings
from gateway.waking.settings import WakingSettings
from tests.redis_lab import RedisServer, running_redis
from tests.unit.gateway.fakes import FakeAudio, FakeDecoder, FakeVision, serving
from trichord import server
from trichord.errors import TrichordError
from trichord.status import from_rpc_error
from trichord.tls import TlsSettings
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc, jobs_pb2

WARNINGS = ("-W", "error", *(f"-Wignore:{name}_text is deprecated:DeprecationWarning" for name in ("read", "open")))
"""Of a process: all are errors, but for how kafka-python reads its own files."""


@dataclass
class Lab:
    """Everything of one test: the fakes and their servers, the gateway's insides, and a client of it."""

    vision: FakeVision
    audio: FakeAudio
    decoder: FakeDecoder
    servers: dict[str, server.RunningServer]
    cluster: Cluster
    gateway: server.RunningServer
    stub: gateway_pb2_grpc.OmniServiceAsyncStub
    usage: list[jobs_pb2.UsageEvent]
    """Events of all chats that took something."""

    async def stop(self, name: str) -> None:
        await self.servers[name].server.stop(0)

    async def restart(self, name: str) -> None:
        """Starts a stopped fake again where it was."""
        fake = {"vision": self.vision, "audio": self.audio, "decoder": self.decoder}[name]
        self.servers[name] = await serving(fake, f"127.0.0.1:{self.servers[name].port}")

    async def chat(self, request: gateway_pb2.ChatRequest, timeout_s: float = 30) -> list[gateway_pb2.ChatResponse]:
        """All events of an answer."""
        return [event async for event in self.stub.Chat(request, timeout=timeout_s)]

    async def ask(self, *parts: gateway_pb2.Part, timeout_s: float = 30) -> list[gateway_pb2.ChatResponse]:
        """All events of the answer to one message."""
        return await self.chat(chat_request(*parts), timeout_s)


@contextlib.asynccontextmanager
async def running_lab(
    redis: RedisServer | None = None,
    waking: WakingSettings | None = None,
    plan: AdmissionSettings | None = None,
    **targets: str,
) -> AsyncIterator[Lab]:
    """Beside a Redis of its own, unless it is told of one; ``targets`` by service, where not the fakes' addresses."""
    with contextlib.ExitStack() as own:
        server_ = redis or own.enter_context(running_redis())
        async with _lab(server_, waking or WakingSettings(), plan or AdmissionSettings(), targets) as lab:
            yield lab


@contextlib.asynccontextmanager
async def _lab(
    redis: RedisServer, waking: WakingSettings, plan: AdmissionSettings, told: Mapping[str, str]
) -> AsyncIterator[Lab]:
    vision, audio, decoder = FakeVision(), FakeAudio(), FakeDecoder()
    servers = {"vision": await serving(vision), "audio": await serving(audio), "decoder": await serving(decoder)}
    targets = {name: f"127.0.0.1:{running.port}" for name, running in servers.items()} | told
    urls = {"cache_url": redis.url, "state_url": redis.url}
    settings = GatewaySettings(**targets, **urls, max_messages=8, max_parts=16, media_store_bytes=10_000)  # type: ignore[arg-type]
    plain = (RoutingSettings(), plan, FetchSettings(), TlsSettings())
    usage: list[jobs_pb2.UsageEvent] = []
    cluster = connect(ClusterSettings(settings, *plain, waking), usage.append)

    def register(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(OmniService(cluster), grpc_server)
        return ["trichord.v1.OmniService"]

    interceptor = AuthInterceptor(open_guard(AuthSettings(), settings.listen))
    gateway = await server.start(register, settings, interceptors=[interceptor])
    channel = server.open_channel(f"127.0.0.1:{gateway.port}", settings.max_message_bytes)
    yield Lab(vision, audio, decoder, servers, cluster, gateway, gateway_pb2_grpc.OmniServiceStub(channel), usage)
    await channel.close()
    for running in (gateway, *servers.values()):
        await running.server.stop(0)
    await cluster.close()


def text(content: str = "hi") -> gateway_pb2.Part:
    return gateway_pb2.Part(text=content)


def image(content: bytes = b"I") -> gateway_pb2.Part:
    return gateway_pb2.Part(image_bytes=content)


def audio(content: bytes = b"A") -> gateway_pb2.Part:
    return gateway_pb2.Part(audio_bytes=content)


def message(*parts: gateway_pb2.Part, role: decoder_pb2.Role = decoder_pb2.ROLE_USER) -> gateway_pb2.Message:
    return gateway_pb2.Message(role=role, parts=parts)


def chat_request(*parts: gateway_pb2.Part, **fields: Any) -> gateway_pb2.ChatRequest:
    """A conversation of one message."""
    return gateway_pb2.ChatRequest(messages=[message(*parts)], **fields)


def kinds(events: list[gateway_pb2.ChatResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


class Refusal:
    """What a failed call told its caller; empty until it failed."""

    error: TrichordError
    code: grpc.StatusCode


@contextlib.contextmanager
def refused() -> Iterator[Refusal]:
    """Expects the call inside to fail with one of our errors."""
    refusal = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield refusal
    refusal.error, refusal.code = from_rpc_error(caught.value, "gateway"), caught.value.code()
