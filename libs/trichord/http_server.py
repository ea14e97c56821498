"""HTTP servers in a process that serves something else too: uvicorn on the running loop, signals left to the process.

Needs uvicorn, which only those extras bring whose services speak HTTP. Knows no routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

BACKLOG = 512
"""Connections that wait to be taken up."""
TICK_S = 0.1
"""Between two of uvicorn's ticks, ten of which it takes for a second."""
CLOSE_S = 1
"""Seconds for the last bytes to leave when a server stops."""


def listen(address: str) -> socket.socket:
    """A socket that listens on ``host:port``; port 0 takes a free one. Raises OSError if it cannot."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
    except (OSError, ValueError) as error:
        raise OSError(f"Cannot listen on {address}: the address is taken or not this machine's.") from error
    # Connections inherit it; without, a stream's second write waits 40 ms for the client to acknowledge the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class HttpServer(uvicorn.Server):
    """Serves an ASGI application from ``start`` to ``stop``; tells nothing of itself and logs nothing."""

    def __init__(self, app: Any, **options: Any) -> None:
        """``options`` are uvicorn's, for limits."""
        plain = {"ws": "none", "lifespan": "off", "log_config": None, "access_log": False}
        silent = {"server_header": False, "proxy_headers": False, "timeout_graceful_shutdown": CLOSE_S}
        super().__init__(uvicorn.Config(app, **{"http": "h11", **plain, **silent, **options}))

    def start(self, listener: socket.socket, name: str) -> None:
        """Serves what comes to ``listener``, which it closes at its end; ``name`` is the task's."""
        self._told_to_stop = asyncio.Event()
        self._task = asyncio.create_task(self.serve(sockets=[listener]), name=name)

    async def stop(self) -> None:
        """Takes no more connections, and ends. May be called again."""
        self.should_exit = True
        self._told_to_stop.set()
        await self._task

    async def main_loop(self) -> None:
        """Ticks as uvicorn does, but ends as soon as it is told to."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), TICK_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield
