"""The supervisor's control socket: how many replicas there are, and how many there should be, as HTTP on a unix socket.

``GET /scale`` answers ``{service: {"desired": n, "ready": n, "starting": n}}``; ``POST /scale`` takes
``{"service": name, "replicas": n}`` and answers that service's counts. More than there is room for is as many as there
is room for. Only the user who runs the cluster may open the socket.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from local_cluster.replica_set import ReplicaSet
from trichord.errors import ClusterError
from trichord.http_server import HttpServer


class Wanted(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    service: str
    replicas: int = Field(ge=0, le=1000)


def application(sets: Mapping[str, ReplicaSet]) -> Starlette:
    """The two questions."""

    async def told(request: Request) -> JSONResponse:
        return JSONResponse({service: replica_set.counts() for service, replica_set in sets.items()})

    async def scale(request: Request) -> JSONResponse:
        try:
            wanted = Wanted.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}"}, 400)
        if wanted.service not in sets:
            return JSONResponse({"error": f"There is no such service. There are: {', '.join(sets)}."}, 404)
        sets[wanted.service].scale(wanted.replicas)
        return JSONResponse(sets[wanted.service].counts())

    return Starlette(routes=[Route("/scale", told, methods=["GET"]), Route("/scale", scale, methods=["POST"])])


@asynccontextmanager
async def listening(sets: Mapping[str, ReplicaSet], path: Path) -> AsyncIterator[None]:
    """Answers on a socket at ``path``. Raises ClusterError if there cannot be one."""
    server = HttpServer(application(sets))
    with _listener(path) as listener:
        server.start(listener, "control socket")
        try:
            yield
        finally:
            await server.stop()


@contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen()
    except OSError as error:
        listener.close()
        message = (
            f"There cannot be a socket {path.name} in the run directory. Choose a TRICHORD_HOME with a short path."
        )
        raise ClusterError(message) from error
    finally:
        os.umask(umask)
    try:
        yield listener
    finally:
        path.unlink(missing_ok=True)
