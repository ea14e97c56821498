"""A host with a certificate on loopback, a name server, and a network whose every address leads to that host."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpcore2
import pytest
import trustme

from gateway.fetch.fetcher import Fetcher
from gateway.fetch.settings import FetchSettings

HOST = "media.example.com"
PUBLIC = "93.184.215.14"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def whole(body: bytes = PNG, status: str = "200 OK", **headers: str) -> Answer:
    """An answer with a body and its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return answer


@dataclass
class World:
    """What a fetcher can reach, and what it asked for."""

    answers: dict[str, Answer] = field(default_factory=dict)
    """By path."""
    addresses: dict[str, list[str]] = field(default_factory=lambda: {HOST: [PUBLIC]})
    authority: trustme.CA = field(default_factory=trustme.CA)
    resolved: list[str] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """Server names that TLS was told."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)
    num_sent: int = 0
    port: int = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        self.resolved.append(host)
        if host not in self.addresses:
            raise OSError("no such host")
        return self.addresses[host]

    def fetcher(self, **settings: Any) -> Fetcher:
        trusting = ssl.create_default_context()
        self.authority.configure_trust(trusting)
        told = FetchSettings(**{"hosts": (HOST, "*.example.org"), **settings})
        return Fetcher(told, resolve=self.resolve, network=_Loopback(self), tls=trusting)

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(HOST).configure_cert(context)
        context.sni_callback = lambda _, name, __: self.names.append(name)
        return context

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.split("\r\n")[:-2]
            path = first.split(" ")[1]
            self.requests.append((path, {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}))
            await self.answers[path](writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


class _Loopback(httpcore2.AsyncNetworkBackend):
    def __init__(self, world: World) -> None:
        self._world, self._real = world, httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *options: Any) -> httpcore2.AsyncNetworkStream:
        self._world.connected.append((host, port))
        if host in self._world.unreachable:
            raise httpcore2.ConnectError
        return await self._real.connect_tcp("127.0.0.1", self._world.port, *options)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    server = await asyncio.start_server(world.serve, "127.0.0.1", 0, ssl=world.tls())
    world.port = server.sockets[0].getsockname()[1]
    yield world
    server.close()
