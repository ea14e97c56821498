"""A server span around every request but those for probes and public files: they are nobody's work.

HTTP semantic conventions: https://opentelemetry.io/docs/specs/semconv/http/http-spans/. Knows a request's method and
route, never its path, query or headers: those are a caller's words.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.openai_http import access_log, refusals
from trichord.errors import TrichordError
from trichord.interceptors import TRACE_ID
from trichord.telemetry import names, spans


class Traced:
    """Outermost, so that metrics and lines of the log name the trace.

    At the edge (``trusts_parent`` false) a caller's ``traceparent`` is linked to and its sampling not obeyed.
    """

    def __init__(self, app: ASGIApp, is_public: Callable[[str], bool], trusts_parent: bool) -> None:
        self._app, self._is_public, self._trusts_parent = app, is_public, trusts_parent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self._is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        with self._span(scope) as span:
            try:
                await self._app(scope, receive, _naming(span, send))
            finally:
                span.set_attribute(names.REQUEST_ID, scope["request_id"])
                if (route := scope.get("route")) is not None:
                    span.update_name(f"{access_log.method(scope)} {route.path}")
                    span.set_attribute(names.HTTP_ROUTE, route.path)

    def _span(self, scope: Scope) -> AbstractContextManager[Span]:
        method = access_log.method(scope)
        caller = spans.inbound((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        told = {names.HTTP_METHOD: method}
        if self._trusts_parent:
            return spans.span(method, SpanKind.SERVER, told, parent=caller)
        return spans.span(method, SpanKind.SERVER, told, links=spans.link_to(caller))


def failed(error: Exception) -> None:
    """Notes an error on the current request's span, which has failed if the fault is not its caller's."""
    span = trace.get_current_span()
    if isinstance(error, TrichordError) and refusals.kind(error).status < 500:
        span.set_attribute(names.ERROR_TYPE, spans.error_type(error))
    else:
        spans.fail(span, GeneratorExit() if isinstance(error, ClientDisconnect) else error)


def _naming(span: Span, send: Send) -> Send:
    """A ``send`` that tells the response's status to the span, and the trace, recorded or not, to the client."""

    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute(names.HTTP_STATUS, message["status"])
            MutableHeaders(scope=message)[TRACE_ID] = trace.format_trace_id(span.get_span_context().trace_id)
        await send(message)

    return named
