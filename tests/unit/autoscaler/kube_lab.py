"""A Kubernetes API server as far as the autoscaler needs one: versions that conflict, a cache that may lag, faults.

Over real HTTP, so that the official client is what is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from kubernetes import client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from autoscaler.direct.api import Api, client_of

NAMESPACE = "models"
Object = dict[str, Any]


@dataclass
class KubeLab:
    """The server's objects, and what it does wrong."""

    port: int = 0
    leases: dict[str, Object] = field(default_factory=dict)
    deployments: dict[str, Object] = field(default_factory=dict)
    events: list[Object] = field(default_factory=list)
    writes: list[tuple[str, int]] = field(default_factory=list)
    """(deployment, replicas) of each scaling that took effect."""
    calls: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=dict)
    """By ``METHOD kind``: the HTTP statuses of the next calls; a last one that is negative lasts."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """By ``METHOD kind``: what happens on the server just before such a call is dealt with."""
    hung: asyncio.Event | None = None
    cache: Object | None = None
    """What lists of any version answer instead of what is so."""
    _version: int = 0

    def add(self, name: str, replicas: int, ready: int | None = None) -> None:
        self.deployments[name] = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "resourceVersion": self.version()},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"readyReplicas": replicas if ready is None else ready},
        }

    def set_replicas(self, name: str, replicas: int) -> None:
        """Somebody else scales."""
        self.deployments[name]["spec"]["replicas"] = replicas
        self.touch(self.deployments[name])

    def touch(self, thing: Object) -> None:
        thing["metadata"]["resourceVersion"] = self.version()

    def version(self) -> str:
        self._version += 1
        return str(self._version)

    def replicas(self, name: str) -> int:
        return int(self.deployments[name]["spec"]["replicas"])

    def freeze_cache(self) -> None:
        """From now on the cache does not hear of changes: a gap in what it watches."""
        self.cache = copy.deepcopy(self.listed())

    def listed(self) -> Object:
        return {
            "apiVersion": "apps/v1",
            "kind": "DeploymentList",
            "metadata": {},
            "items": [*self.deployments.values()],
        }

    def api(self) -> Api:
        configuration = client.Configuration()
        configuration.host = f"http://127.0.0.1:{self.port}"
        return Api(client_of(configuration), NAMESPACE)

    async def dispatch(self, request: Request, kind: str, answer: Callable[[Object], JSONResponse]) -> JSONResponse:
        name = f"{request.method} {kind}"
        self.calls[name] += 1
        if self.hung:
            await self.hung.wait()
        body = await request.json() if request.method in ("POST", "PUT") else {}
        self.before.pop(name, lambda: None)()
        statuses = self.faults.get(name)
        if statuses:
            status = statuses[0] if statuses[0] < 0 else statuses.pop(0)
            if status:
                return failure(abs(status), "Forbidden" if abs(status) == 403 else "Fault")
        return answer(body)

    async def lease(self, request: Request) -> JSONResponse:
        def answer(body: Object) -> JSONResponse:
            if request.method == "POST":
                name = body["metadata"]["name"]
                return failure(409, "AlreadyExists") if name in self.leases else self._keep(self.leases, name, body)
            return self._get_or_put(request, self.leases, body)

        return await self.dispatch(request, "leases", answer)

    def _get_or_put(self, request: Request, kept: dict[str, Object], body: Object) -> JSONResponse:
        name = request.path_params["name"]
        if name not in kept:
            return failure(404, "NotFound")
        if request.method == "GET":
            return JSONResponse(kept[name])
        if body["metadata"].get("resourceVersion") != kept[name]["metadata"]["resourceVersion"]:
            return failure(409, "Conflict")
        return self._keep(kept, name, body)

    def _keep(self, kept: dict[str, Object], name: str, body: Object) -> JSONResponse:
        kept[name] = body
        self.touch(body)
        return JSONResponse(body)

    async def list_deployments(self, request: Request) -> JSONResponse:
        is_any = request.query_params.get("resourceVersion") == "0"
        listed = self.cache if is_any and self.cache else self.listed()
        return await self.dispatch(request, "deployments", lambda body: JSONResponse(listed))

    async def scale(self, request: Request) -> JSONResponse:
        def answer(body: Object) -> JSONResponse:
            name = request.path_params["name"]
            deployment = self.deployments.get(name)
            if deployment is None:
                return failure(404, "NotFound")
            metadata = deployment["metadata"]
            if request.method == "PUT":
                if body["metadata"].get("resourceVersion") != metadata["resourceVersion"]:
                    return failure(409, "Conflict")
                self.set_replicas(name, body["spec"].get("replicas", 0))
                self.writes.append((name, self.replicas(name)))
            # As the real one: a zero is left out.
            spec = {"replicas": self.replicas(name)} if self.replicas(name) else {}
            return JSONResponse({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec})

        return await self.dispatch(request, "scale", answer)

    async def event(self, request: Request) -> JSONResponse:
        def answer(body: Object) -> JSONResponse:
            self.events.append(body)
            return JSONResponse(body)

        return await self.dispatch(request, "events", answer)


def failure(code: int, reason: str) -> JSONResponse:
    body = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code}
    return JSONResponse(body, status_code=code)


@contextlib.asynccontextmanager
async def running_kube() -> AsyncIterator[KubeLab]:
    lab = KubeLab()
    leases, deployments = (
        f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
        f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    )
    routes = [
        Route(leases, lab.lease, methods=["POST"]),
        Route(leases + "/{name}", lab.lease, methods=["GET", "PUT"]),
        Route(deployments, lab.list_deployments),
        Route(deployments + "/{name}/scale", lab.scale, methods=["GET", "PUT"]),
        Route(f"/api/v1/namespaces/{NAMESPACE}/events", lab.event, methods=["POST"]),
    ]
    listener = socket.create_server(("127.0.0.1", 0))
    lab.port = listener.getsockname()[1]
    config = uvicorn.Config(
        Starlette(routes=routes), http="h11", ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield lab
    finally:
        if lab.hung:
            lab.hung.set()
        server.should_exit = server.force_exit = True
        await task


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):
        yield
