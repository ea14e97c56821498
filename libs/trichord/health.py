"""The standard health service (grpc.health.v1), one status for the whole process under every name it serves.

Our own because the library's forgets every watcher of a service as soon as one of them leaves. One name is apart:
``liveness`` is SERVING for as long as the process answers at all, so that nobody restarts a process because of what it
waits for. Knows nothing of why a process can serve or cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trichord.errors import NotFoundError

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE_NAME = "grpc.health.v1.Health"
LIVENESS = "liveness"


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """NOT_SERVING until told otherwise, for ``""`` (the process) and for each of ``services``."""

    def __init__(self, services: Sequence[str]) -> None:
        self._names = frozenset(("", LIVENESS, *services))
        self._serving = False
        self._shut_down = False
        self._changed = asyncio.Condition()

    async def set_serving(self, serving: bool) -> None:
        """Tells every watcher. After ``shut_down`` it changes nothing."""
        async with self._changed:
            self._serving = serving and not self._shut_down
            self._changed.notify_all()

    async def shut_down(self) -> None:
        """NOT_SERVING for good."""
        self._shut_down = True
        await self.set_serving(False)

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The status now. Raises NotFoundError for a service that is not here."""
        if request.service not in self._names:
            raise NotFoundError("This process has no such service.", field="service")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status now and whenever it changes; SERVICE_UNKNOWN for a service that is not here."""
        told = None
        while True:
            async with self._changed:
                while (status := self._status(request.service)) == told:
                    await self._changed.wait()
            told = status
            yield health_pb2.HealthCheckResponse(status=status)

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service not in self._names:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        serving = self._serving or service == LIVENESS
        return health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
