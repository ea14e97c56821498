"""``python -m local_cluster.traces``: the process that keeps traces. Logs to stderr."""

from __future__ import annotations

import asyncio
import signal

import structlog

from local_cluster.traces.app import application
from local_cluster.traces.settings import TracesSettings
from local_cluster.traces.store import TraceStore
from trichord.errors import TrichordError
from trichord.http_server import HttpServer, listen
from trichord.logs import configure

log = structlog.get_logger(__name__)


async def main() -> None:
    """Serves until told to stop. Raises OSError if the port is taken, SettingsError for senseless settings."""
    settings = TracesSettings.from_environment()
    configure("traces", "info")
    listener = listen(f"127.0.0.1:{settings.port}")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    server = HttpServer(application(TraceStore(settings)))
    server.start(listener, "traces")
    log.info("listening", protocol="http", port=listener.getsockname()[1])
    await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (TrichordError, OSError) as error:
        raise SystemExit(f"cannot start: {error}") from error
