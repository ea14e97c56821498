"""What the process answers: spans that come by OTLP/HTTP, pages for people, and JSON for pages and the command line.

``POST /v1/traces`` takes spans; ``/traces`` lists, ``/traces/{id}`` shows one; ``/api/traces`` and ``/api/traces/{id}``
tell the same in JSON, where ``{id}`` is a trace id, the beginning of one, or a request id: a client's own may hold any
printable character.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from importlib import resources

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from local_cluster.traces import body, otlp, told
from local_cluster.traces.search import Search
from local_cluster.traces.store import TraceStore
from trichord.errors import RequestError
from trichord.web import files

HOSTS = ["127.0.0.1", "localhost"]
"""What this process is called by those who mean it: a page from elsewhere that has its own name point here does not."""
MAX_KEY_CHARS = 128
_JSON, _PROTOBUF = "application/json", "application/x-protobuf"


def application(store: TraceStore) -> Starlette:
    """Answers from, and adds to, ``store``."""
    traces = Traces(store)
    routes = [
        Route("/v1/traces", traces.receive, methods=["POST"]),
        Route("/api/traces", traces.list, methods=["GET"]),
        Route("/api/traces/{key:path}", traces.one, methods=["GET"]),
        Route("/healthz", _healthy, methods=["GET"]),
        Route("/", _home, methods=["GET"]),
        *_pages(),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)])


class Traces:
    """The handlers that need the store."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def receive(self, request: Request) -> Response:
        """Takes spans, or says in one sentence why not (OTLP/HTTP, "Failures")."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in (_JSON, _PROTOBUF):
            # Nor may a form or a script of a page from elsewhere send spans: these two types it has to ask for.
            return _encoded(_refusal(f"Send {_PROTOBUF} or {_JSON}."), _JSON, 415)
        try:
            exported = otlp.parse(await body.read(request), media_type == _JSON)
        except RequestError as error:
            # The connection is closed: what is left of the body would be read to its end, however long.
            return _encoded(_refusal(error.message), media_type, 400, {"connection": "close"})
        kept = [span is not None and self._store.add(span) for span in otlp.spans(exported)]
        return _encoded(_answer(kept.count(False)), media_type, 200)

    async def list(self, request: Request) -> Response:
        """The traces that are looked for, newest first."""
        try:
            search = Search.model_validate(dict(request.query_params))
        except ValidationError as error:
            first = error.errors()[0]
            return _error(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.", 400)
        found = [trace for trace in self._store.traces() if search.finds(trace)]
        newest = heapq.nlargest(search.limit, found, key=lambda trace: trace.summary.start_ns)
        return _json({"traces": [told.line(trace) for trace in newest]})

    async def one(self, request: Request) -> Response:
        """One trace with all its spans."""
        key = request.path_params["key"][:MAX_KEY_CHARS]
        found = self._store.find(key)
        if not found:
            return _error("No span of such a trace has come; or so many others since that it was dropped.", 404)
        if len(found) > 1:
            return _error(f"{len(found)} traces begin so, or are of that request. Give more of the trace id.", 409)
        return _json(told.whole(found[0]))


def _answer(num_rejected: int) -> ExportTraceServiceResponse:
    answer = ExportTraceServiceResponse()
    if num_rejected:
        answer.partial_success.rejected_spans = num_rejected
        answer.partial_success.error_message = (
            "Some spans have no ids or no time, or are one trace's that is too large."
        )
    return answer


def _refusal(message: str) -> status_pb2.Status:
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=message)


def _encoded(message: Message, media_type: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """In the encoding that the request had, as OTLP/HTTP has it."""
    told_as_json = media_type == _JSON
    content = json_format.MessageToJson(message, indent=None) if told_as_json else message.SerializeToString()
    return Response(content, status, headers, media_type=media_type)


def _pages() -> list[Route]:
    own = resources.files(__package__).joinpath("static")
    pages = {"/traces": "traces.html", "/traces/{key:path}": "trace.html"}
    return [
        *(files.route(path, own.joinpath(name)) for path, name in pages.items()),
        *files.folder("/static", own),
        *files.folder("/static", files.SHARED),
    ]


async def _home(request: Request) -> Response:
    return RedirectResponse("/traces")


async def _healthy(request: Request) -> Response:
    return _json({"status": "ok"})


def _json(content: object) -> Response:
    return JSONResponse(content, headers=files.HEADERS)


def _error(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status, files.HEADERS)
