"""``python -m autoscaler``: decides each second, and tells KEDA, Kubernetes or a local cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from autoscaler import explain, keda, notices, opening
from autoscaler.autoscaler import Autoscaler
from autoscaler.decisions import Decisions
from autoscaler.fleet import Fleet
from autoscaler.rules import FleetRules
from autoscaler.settings import AutoscalerSettings
from trichord import server
from trichord.logs import configure
from trichord.redis_link import RedisLink
from trichord.tls import TlsSettings


async def main() -> None:
    """Serves until told to stop. Ready as soon as it serves: without data it holds, which is its work too."""
    settings, tls = AutoscalerSettings.from_environment(), TlsSettings.from_environment()
    configure("autoscaler", settings.log_level)
    rules = FleetRules.read(settings.rules) if settings.rules else FleetRules()
    url = settings.state_url.get_secret_value()
    link, decisions = RedisLink(url), Decisions()
    actuator = opening.actuator(settings)
    autoscaler = Autoscaler(Fleet(rules), link, actuator, decisions)

    def register(grpc_server: grpc.aio.Server) -> Sequence[str]:
        return keda.add_to(grpc_server, decisions) if settings.mode == "keda" else []

    async def ready() -> bool:
        return all(not task.done() for task in tasks)

    async with explain.serve(explain.page(decisions), settings.admin_listen):
        tasks = [
            asyncio.create_task(autoscaler.run(settings.interval_s), name="decide"),
            asyncio.create_task(notices.listen(url, autoscaler.wake), name="listen for notices"),
        ]
        try:
            await server.serve(register, ready, settings, tls=tls)
        finally:
            await _end(tasks)
            await actuator.close()
            await link.close()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    server.run("autoscaler", main())
