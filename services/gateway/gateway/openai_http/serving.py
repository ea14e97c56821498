"""Runs the application in this process, beside the gRPC server and on its event loop.

uvicorn with h11: one strict parser, limits on headers, connections and idle time, and no signal handlers of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.applications import Starlette

from gateway.openai_http.desk import Desk
from gateway.openai_http.http1 import connections
from gateway.openai_http.settings import HttpSettings

log = structlog.get_logger(__name__)

BACKLOG = 512
"""Connections that wait to be taken up."""

_CLOSE_S = 1.0
"""Seconds for the last bytes to leave after every answer has ended."""


@dataclass
class RunningHttp:
    """A server that serves; stop it with ``drain``."""

    port: int
    server: uvicorn.Server
    task: asyncio.Task[None]
    desk: Desk

    async def drain(self) -> None:
        """Fails readiness, lets answers finish, ends what is left with an error, closes. May be called again."""
        settings = self.desk.settings
        if not self.server.should_exit:
            await self.desk.drain.run(settings.drain_notice_s, settings.drain_timeout_s)
        self.server.should_exit = True
        await self.task


@asynccontextmanager
async def serve_http(app: Starlette, settings: HttpSettings) -> AsyncIterator[RunningHttp]:
    """Serves ``app`` as long as the block lasts, then drains. Raises OSError if the address is taken."""
    listener = _listen(settings.listen)
    port = listener.getsockname()[1]
    server = _Server(_config(app, settings))
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
    running = RunningHttp(port, server, task, app.state.desk)
    log.info("listening", protocol="http", port=port)
    try:
        yield running
    finally:
        await running.drain()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=BACKLOG)
        # Connections inherit it; without, a stream's second write waits 40 ms for the client to acknowledge the first.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, ValueError) as error:
        raise OSError(f"Cannot listen on {address}: the address is taken or not this machine's.") from error


def _config(app: Starlette, settings: HttpSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connections(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=round(settings.idle_timeout_s),
        timeout_graceful_shutdown=round(_CLOSE_S),
        h11_max_incomplete_event_size=settings.max_header_bytes,
    )


class _Server(uvicorn.Server):
    """Leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
