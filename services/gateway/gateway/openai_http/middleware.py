"""What surrounds every route: a request id and timing, errors in OpenAI's shape, and no way in without a key.

Pure ASGI: streams pass through untouched. Knows no route but the public ones that it is told.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.identity.audit import digest
from gateway.identity.guard import Call
from gateway.identity.principal import Scope as AccessScope
from gateway.metrics import http
from gateway.openai_http import access_log, refusals, traced
from gateway.openai_http.connection import shutting_down
from gateway.openai_http.desk import Desk, rate_limit_headers
from gateway.openai_http.event_stream import to_json
from gateway.openai_http.refusals import HttpError
from trichord.errors import InternalError, TrichordError
from trichord.jobs import on_behalf
from trichord.telemetry import request_line
from trichord.telemetry.spans import error_type

log = structlog.get_logger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
MAX_TARGET_CHARS = 128
_SAFETY = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Envelope:
    """Outermost: names and times every request, and turns every error into an answer."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app, self._desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        assert scope["type"] == "http", "the server speaks neither WebSocket nor lifespan"
        scope["request_id"] = _request_id(Headers(scope=scope))
        addressed = _Addressed(scope, send, self._desk)
        with access_log.line(scope, addressed), http.timed(scope, addressed):
            await self._answer(scope, addressed.listening(receive), addressed)

    async def _answer(self, scope: Scope, receive: Receive, addressed: _Addressed) -> None:
        try:
            self._check_size(scope["headers"])
            await self._app(scope, receive, addressed)
        except ClientDisconnect as error:
            addressed.status = 499
            traced.failed(error)
        except Exception as error:
            traced.failed(error)
            request_line.add(error=error_type(error))
            if addressed.has_started:
                raise
            await error_response(_sayable(error, scope["request_id"]))(scope, receive, addressed)

    def _check_size(self, headers: list[tuple[bytes, bytes]]) -> None:
        max_bytes = self._desk.settings.max_header_bytes
        if sum(len(name) + len(value) for name, value in headers) > max_bytes:
            message = f"The headers have at most {max_bytes} bytes."
            raise HttpError(message, code="headers_too_large", status=431)


class _Addressed:
    """A ``send`` that adds to the response's headers what every response has."""

    def __init__(self, scope: Scope, send: Send, desk: Desk) -> None:
        self._scope, self._send, self._desk = scope, send, desk
        self._began_s = time.perf_counter()
        self.status = 0
        """Of the response; 0 before it has started, 499 if the client left."""
        self.has_started = self.has_ended = False

    def listening(self, receive: Receive) -> Receive:
        """A ``receive`` that tells of a client that left only if it left too early.

        The server says so at the end of every response too, and what is left to do then would be cancelled.
        """

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and self.has_ended:
                await asyncio.Event().wait()
            return message

        return received

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers.update(_SAFETY)
            headers["x-request-id"] = self._scope["request_id"]
            headers["openai-processing-ms"] = str(round((time.perf_counter() - self._began_s) * 1000))
            if (principal := self._scope.get("principal")) is not None:
                headers.update(rate_limit_headers(self._desk.standing(principal.tenant)))
        elif not message.get("more_body", False):
            self.has_ended = True
        await self._send(message)


class Gatekeeper:
    """Lets in who has a key; without one only to the public paths. Refuses all while the process ends."""

    def __init__(
        self, app: ASGIApp, desk: Desk, is_public: Callable[[str], bool], scope_of: Callable[[str], AccessScope]
    ) -> None:
        self._app, self._desk, self._is_public, self._scope_of = app, desk, is_public, scope_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises what ``Admit`` does, and UnavailableError while the process ends."""
        # The path that routes are matched by, never one put together with the Host header (CVE-2026-48710).
        if not self._is_public(scope["path"]):
            if self._desk.drain.refusing.is_set():
                raise shutting_down()
            call = Call(
                target=f"{access_log.method(scope)} {scope['path'][:MAX_TARGET_CHARS]}",
                authorization=Headers(scope=scope).get("authorization"),
                request_id=scope["request_id"],
                host=Headers(scope=scope).get("host", ""),
                on_behalf=on_behalf.read(Headers(scope=scope).items()),
            )
            scope["principal"] = await self._desk.admit(call, self._scope_of(scope["path"]))
            request_line.add(tenant=digest(scope["principal"].tenant))
        else:
            scope["is_public"] = True
        await self._app(scope, receive, send)


def error_response(error: TrichordError) -> Response:
    """The response that an error is."""
    content = to_json(refusals.body(error))
    return Response(content, refusals.kind(error).status, refusals.headers(error), media_type="application/json")


async def on_http_exception(request: Request, error: Exception) -> Response:
    """What the router itself refuses: a path or method that is not there."""
    assert isinstance(error, HTTPException)
    codes = {404: "unknown_url", 405: "method_not_allowed"}
    message = f"There is no {request.method[:16]} {request.scope['path'][:128]!r} here. See /docs."
    refusal = HttpError(message, code=codes.get(error.status_code, "invalid_request"), status=error.status_code)
    response = error_response(refusal)
    response.headers.update(error.headers or {})
    return response


def _sayable(error: Exception, request_id: str) -> TrichordError:
    if isinstance(error, TrichordError):
        return error
    log.error("request failed", exc_info=error)
    return InternalError(f"A fault of the server. Tell its operator the request id {request_id}.")


def _request_id(headers: Headers) -> str:
    own = headers.get("x-request-id", "")
    return own if _REQUEST_ID.fullmatch(own) else f"req_{secrets.token_hex(16)}"
