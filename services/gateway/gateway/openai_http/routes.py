"""The Starlette application: which path is answered by what.

``/healthz``, ``/readyz``, the documentation and other pages are public: static files and two probes, which tell nothing
of the deployment or of anybody's data; so is the way to its traces, where it has one. Every other path, those that do
not exist included, needs a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.identity.principal import Scope
from gateway.openai_http import documentation, traces
from gateway.openai_http.answering import ServedModel
from gateway.openai_http.batches import Batches
from gateway.openai_http.completions import ChatCompletions
from gateway.openai_http.desk import Desk
from gateway.openai_http.files import Files
from gateway.openai_http.middleware import Envelope, Gatekeeper, on_http_exception
from gateway.openai_http.replies import json_response
from gateway.openai_http.responses import Model, ModelList
from gateway.openai_http.traced import Traced
from trichord.errors import NotFoundError

PROBES = ("/healthz", "/readyz")
JOB_PATHS = ("/v1/files", "/v1/batches")
"""Beginnings of paths that need the scope of jobs; all others need that of chats."""


def build(desk: Desk, pages: Sequence[Route] = ()) -> Starlette:
    """The application; ``app.state.desk`` is what it works with. ``pages`` are further public files."""
    probes = Probes(desk)
    models, files, batches = Models(desk), Files(desk), Batches(desk)
    pages = [*pages, *(documentation.routes() if desk.settings.docs else ()), *traces.routes(desk.settings.traces_url)]
    routes = [
        Route("/v1/chat/completions", ChatCompletions(desk), methods=["POST"]),
        Route("/v1/models", models.list, methods=["GET"]),
        Route("/v1/models/{id:path}", models.get, methods=["GET"]),
        Route("/v1/files", files.create, methods=["POST"]),
        Route("/v1/files", files.list, methods=["GET"]),
        Route("/v1/files/{id}", files.get, methods=["GET"]),
        Route("/v1/files/{id}", files.delete, methods=["DELETE"]),
        Route("/v1/files/{id}/content", files.content, methods=["GET"]),
        Route("/v1/batches", batches.create, methods=["POST"]),
        Route("/v1/batches", batches.list, methods=["GET"]),
        Route("/v1/batches/{id}", batches.get, methods=["GET"]),
        Route("/v1/batches/{id}/cancel", batches.cancel, methods=["POST"]),
        Route("/healthz", probes.health, methods=["GET"]),
        Route("/readyz", probes.ready, methods=["GET"]),
        *pages,
    ]
    is_public = _public(pages)
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Traced, is_public=is_public, trusts_parent=desk.trusts_parent),
            Middleware(Envelope, desk=desk),
            Middleware(Gatekeeper, desk=desk, is_public=is_public, scope_of=_scope),
        ],
        exception_handlers={HTTPException: on_http_exception},
    )
    app.router.redirect_slashes = False
    app.state.desk = desk
    return app


def _public(pages: Sequence[Route]) -> Callable[[str], bool]:
    paths = frozenset([*PROBES, *(page.path for page in pages)])
    patterns = [page.path_regex for page in pages if page.param_convertors]
    return lambda path: path in paths or any(pattern.fullmatch(path) for pattern in patterns)


def _scope(path: str) -> Scope:
    """What a key must allow to knock at ``path``."""
    return Scope.JOBS if path.startswith(JOB_PATHS) else Scope.CHAT


class Probes:
    """What orchestrators ask. What is behind the gateway degrades; it does not make the gateway unready."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def health(self, request: Request) -> Response:
        """Whether this process runs."""
        return json_response({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether clients may come."""
        if self._desk.drain.is_ready:
            return json_response({"status": "ready"})
        return json_response({"status": "draining"}, status=503)


class Models:
    """What is served."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._since = int(time.time())

    async def list(self, request: Request) -> Response:
        """GET /v1/models."""
        models: ModelList = {"object": "list", "data": [self._told(await self._desk.core.model())]}
        return json_response(models)

    async def get(self, request: Request) -> Response:
        """GET /v1/models/{id}."""
        wanted, model = request.path_params["id"], await self._desk.core.model()
        if wanted != model.name:
            raise NotFoundError(f"There is no model {wanted!r} here; it is {model.name!r}.", field="model")
        return json_response(self._told(model))

    def _told(self, model: ServedModel) -> Model:
        return {
            "id": model.name,
            "object": "model",
            "created": self._since,
            "owned_by": "trichord",
            "context_tokens": model.context_tokens,
            "max_images": model.max_images,
            "max_audios": model.max_audios,
        }
