"""The HTTP face of a gateway on loopback, in front of fake services, and short ways to ask it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.routing import Route

from gateway.admission.verdict import Budget
from gateway.identity.guard import Call
from gateway.identity.principal import Principal, Scope
from gateway.jobs.desk import Jobs
from gateway.openai_http.answering import ClusterCore
from gateway.openai_http.desk import Desk
from gateway.openai_http.job_desk import open_job_desk
from gateway.openai_http.routes import build
from gateway.openai_http.serving import RunningHttp, serve_http
from gateway.openai_http.settings import HttpSettings
from tests.unit.gateway.lab import Lab
from trichord.errors import UnauthenticatedError
from trichord.v1 import gateway_pb2

KEY = "key-of-acme"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


async def admit(call: Call, scope: Scope | None) -> Principal:
    """Keys are ``key-of-TENANT``; that of ``batch`` may not chat, that of ``chatter`` may do nothing else."""
    scheme, _, key = (call.authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith("key-of-"):
        raise UnauthenticatedError("Send your API key as a bearer token.")
    tenant = key.removeprefix("key-of-")
    scopes = {"batch": [Scope.JOBS], "chatter": [Scope.CHAT]}.get(tenant, [Scope.CHAT, Scope.JOBS])
    principal = Principal.of(tenant, "id", scopes, b"secret")
    principal.require(scope)
    return principal


@dataclass
class HttpLab:
    """Everything of one test: the lab behind, the server, and a plain client with a key."""

    lab: Lab
    desk: Desk
    running: RunningHttp
    client: httpx2.AsyncClient
    budgets: list[Budget] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.running.port}"

    def routes(self) -> list[Route]:
        """Every route that is served."""
        return [route for route in build(self.desk).routes if isinstance(route, Route)]

    def refuse(self, error: Exception, times: int = 1_000_000) -> list[float]:
        """Makes the core refuse so many times, then answer; returns when it was asked, on the loop's clock."""
        answer, asked = self.desk.core.answer, []

        async def refusing(request: gateway_pb2.ChatRequest, principal: Principal) -> AsyncIterator[Any]:
            asked.append(asyncio.get_running_loop().time())
            if len(asked) <= times:
                raise error
            async for event in answer(request, principal):
                yield event

        self.desk.core.answer = refusing  # type: ignore[method-assign, assignment]
        return asked

    async def complete(self, headers: Mapping[str, str] | None = None, **body: Any) -> httpx2.Response:
        return await self.client.post("/v1/chat/completions", json=question(**body), headers=headers)

    async def post(self, content: bytes, **headers: str) -> httpx2.Response:
        """Any bytes as a chat completion's body."""
        own = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await self.client.post("/v1/chat/completions", content=content, headers=own)

    async def raw(self, request: bytes) -> bytes:
        """All that the server answers to these bytes until it closes or resets the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.running.port)
        writer.write(request)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                answer += piece
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer


def client_of(url: str, **options: Any) -> httpx2.AsyncClient:
    """One that reads no certificates, which takes 30 ms: nothing here is encrypted."""
    return httpx2.AsyncClient(base_url=url, timeout=30, verify=False, **options)


@contextlib.asynccontextmanager
async def running_http(lab: Lab, jobs: Jobs | None = None, **settings: Any) -> AsyncIterator[HttpLab]:
    """``jobs``: None for a deployment that has none. Batches are kept going by ``desk.jobs.keeper``, not started."""
    told = HttpSettings(**{"drain_timeout_s": 0.2, **settings})
    budgets: list[Budget] = []
    core = ClusterCore(lab.cluster)
    job_desk = open_job_desk(jobs, core, told, lab.cluster) if jobs else None
    desk = Desk(told, core, admit, standing=lambda tenant: budgets, job_desk=job_desk)
    async with (
        serve_http(build(desk), told) as running,
        client_of(f"http://127.0.0.1:{running.port}", headers=AUTHORIZED) as client,
    ):
        yield HttpLab(lab, desk, running, client, budgets)


def question(*parts: dict[str, Any], **body: Any) -> dict[str, Any]:
    """A chat completion's body with one user message."""
    return {"model": "fake", "messages": [user(*parts)], **body}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts) or "hi"}


def text(content: str = "hi") -> dict[str, Any]:
    return {"type": "text", "text": content}


def image(content: bytes = b"I") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(content).decode()}"}}


def audio(content: bytes = b"A") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(content).decode(), "format": "wav"}}


def sse(response: httpx2.Response) -> list[Any]:
    """The data of a stream's events, parsed; the last is "[DONE]" if it ended well."""
    frames = [frame for frame in response.text.split("\n\n") if frame]
    data = [frame.removeprefix("data: ") for frame in frames if not frame.startswith(":")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error of a refused request, with all its members and nothing beside it."""
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return body["error"]  # type: ignore[no-any-return]
