"""Runs the application in this process, beside the gRPC server and on its event loop.

uvicorn with h11: one strict parser, limits on headers, connections and idle time, and no signal handlers of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from starlette.applications import Starlette

from gateway.openai_http.desk import Desk
from gateway.openai_http.http1 import connections
from gateway.openai_http.settings import HttpSettings
from trichord.http_server import HttpServer, listen

log = structlog.get_logger(__name__)


@dataclass
class RunningHttp:
    """A server that serves; stop it with ``drain``."""

    port: int
    server: HttpServer
    desk: Desk

    async def drain(self) -> None:
        """Fails readiness, lets answers finish, ends what is left with an error, closes. May be called again."""
        settings = self.desk.settings
        if not self.server.should_exit:
            await self.desk.drain.run(settings.drain_notice_s, settings.drain_timeout_s)
        await self.server.stop()


@asynccontextmanager
async def serve_http(app: Starlette, settings: HttpSettings) -> AsyncIterator[RunningHttp]:
    """Serves ``app`` as long as the block lasts, then drains. Raises OSError if the address is taken."""
    listener = listen(settings.listen)
    port = listener.getsockname()[1]
    server = HttpServer(
        app,
        http=connections(settings),
        timeout_keep_alive=round(settings.idle_timeout_s),
        h11_max_incomplete_event_size=settings.max_header_bytes,
    )
    server.start(listener, "http server")
    running = RunningHttp(port, server, app.state.desk)
    log.info("listening", protocol="http", port=port)
    try:
        yield running
    finally:
        await running.drain()
