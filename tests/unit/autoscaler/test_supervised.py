"""The local cluster's supervisor as the autoscaler talks to it: HTTP on a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from autoscaler.actuator import Replicas
from autoscaler.supervised import Supervised
from local_cluster import control
from trichord.errors import ConflictError, UnavailableError


class Supervisor:
    """What a local cluster's supervisor offers."""

    def __init__(self) -> None:
        self.services: Any = {"vision-encoder": {"desired": 2, "ready": 1, "starting": 1}, "redis": {}}
        self.services["redis"] = {"desired": 1, "ready": 1, "starting": 0}
        self.asked: list[Any] = []
        self.status = 200

    async def scale(self, request: Request) -> Response:
        if self.status != 200:
            return Response(status_code=self.status)
        if request.method == "POST":
            self.asked.append(await request.json())
        return JSONResponse(self.services)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
def path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="s-"))  # a socket's path must be short
    yield folder / "s"
    shutil.rmtree(folder)


@pytest.fixture
async def supervisor(path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    app = Starlette(routes=[Route("/scale", supervisor.scale, methods=["GET", "POST"])])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    server = _Server(uvicorn.Config(app, lifespan="off", log_config=None, http="h11", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    yield supervisor
    server.should_exit = server.force_exit = True
    await task


@pytest.fixture
async def client(path: Path) -> AsyncIterator[Supervised]:
    client = Supervised(path)
    yield client
    await client.close()


async def test_it_tells_the_services_that_can_be_scaled(supervisor: Supervisor, client: Supervised) -> None:
    assert await client.replicas({}) == {"vision": Replicas(2, 1)}


async def test_it_asks_for_replicas(supervisor: Supervisor, client: Supervised) -> None:
    assert await client.scale("audio", Replicas(1, 1), 0, "because")
    assert supervisor.asked == [{"service": "audio-encoder", "replicas": 0}]


@pytest.mark.parametrize(("status", "error"), [(409, ConflictError), (500, UnavailableError), (404, UnavailableError)])
async def test_a_refusal_is_an_error(
    supervisor: Supervisor, client: Supervised, status: int, error: type[Exception]
) -> None:
    supervisor.status = status
    with pytest.raises(error):
        await client.scale("audio", Replicas(1, 1), 0, "because")


@pytest.mark.parametrize("answer", [[], {"vision-encoder": {"desired": -1, "ready": 0}}, {"vision-encoder": 2}, "x"])
async def test_an_answer_of_another_shape_is_an_error(supervisor: Supervisor, client: Supervised, answer: Any) -> None:
    supervisor.services = answer
    with pytest.raises(UnavailableError, match="not understood"):
        await client.replicas({})


async def test_a_supervisor_that_is_gone_is_an_error(client: Supervised) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        await client.replicas({})


class FakeReplicaSet:
    """As the real one answers, without processes."""

    def __init__(self) -> None:
        self.desired = 0

    def counts(self) -> dict[str, int]:
        return {"desired": self.desired, "ready": 0, "starting": self.desired}

    def scale(self, replicas: int) -> None:
        self.desired = replicas


async def test_the_local_clusters_own_socket_speaks_the_same(path: Path, client: Supervised) -> None:
    sets = {"vision-encoder": FakeReplicaSet(), "audio-encoder": FakeReplicaSet()}
    async with control.listening(sets, path):  # type: ignore[arg-type]
        assert await client.replicas({}) == {"vision": Replicas(0, 0), "audio": Replicas(0, 0)}
        assert await client.scale("vision", Replicas(0, 0), 2, "because")
        assert await client.replicas({}) == {"vision": Replicas(2, 0), "audio": Replicas(0, 0)}
        with pytest.raises(UnavailableError, match="HTTP 404"):
            await client.scale("decoder", Replicas(1, 1), 2, "because")
