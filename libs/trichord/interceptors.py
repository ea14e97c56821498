"""What surrounds every call of every service: errors become statuses, and calls in progress are bounded.

Knows no service.
"""

from __future__ import annotations

import contextlib
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
import structlog

from trichord import pushback
from trichord.errors import FeatureOffError, InternalError, OverloadedError, TrichordError
from trichord.status import to_status

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

TRACE_ID = "x-trace-id"
"""In every answer's trailing metadata, an error's too: what to name when asking what became of a call."""

_NOT_WRITTEN = "Method not implemented!"
"""What the generated servicers raise for a method that ours does not define."""

Answering = Callable[[Any, Context], Awaitable[Any]]
Streaming = Callable[[Any, Context], AsyncGenerator[Any, None]]


class Guarding(grpc.aio.ServerInterceptor, ABC):
    """Runs every handler inside a context manager. Handlers that stream are asynchronous generators."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        """See ``grpc.aio.ServerInterceptor``."""
        handler = await continuation(handler_call_details)
        if handler is None or not self._applies(handler_call_details.method):
            return handler
        for kind in ("unary_unary", "stream_unary"):
            if method := getattr(handler, kind):
                return handler._replace(**{kind: self._answering(method, handler_call_details.method)})
        for kind in ("unary_stream", "stream_stream"):
            if method := getattr(handler, kind):
                return handler._replace(**{kind: self._streaming(method, handler_call_details.method)})
        return handler

    def _applies(self, method: str) -> bool:
        return True

    @abstractmethod
    def _guard(self, context: Context, method: str) -> AbstractAsyncContextManager[None]: ...

    def _answering(self, method: Answering, name: str) -> Answering:
        async def call(request: Any, context: Context) -> Any:
            async with self._guard(context, name):
                return await method(request, context)

        return call

    def _streaming(self, method: Streaming, name: str) -> Streaming:
        async def call(request: Any, context: Context) -> AsyncGenerator[Any, None]:
            # A consumer that leaves parks us at the yield; closing runs the handler's own finally now, not at gc.
            async with self._guard(context, name), contextlib.aclosing(method(request, context)) as responses:
                async for response in responses:
                    yield response

        return call


class ErrorInterceptor(Guarding):
    """Turns TrichordError into its status, and anything unforeseen into INTERNAL with an id and nothing else."""

    @contextlib.asynccontextmanager
    async def _guard(self, context: Context, method: str) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(context, _sayable(error, context))


async def _abort(context: Context, error: TrichordError) -> None:
    """Ends the call with the error's status, and tells clients that retry by themselves when to, or not to."""
    status = to_status(error)
    trailers = (*(context.trailing_metadata() or ()), *status.trailing_metadata, *pushback.trailers(error))
    await context.abort(status.code, status.details, trailers)


def _sayable(error: Exception, context: Context) -> TrichordError:
    """What may be told of an error: all of a foreseen one; of a bug only an id, to find its log line by."""
    if isinstance(error, TrichordError) and error.code is not grpc.StatusCode.INTERNAL:
        return error
    if isinstance(error, NotImplementedError) and str(error) == _NOT_WRITTEN:
        return FeatureOffError("This service does not offer that method.")
    error_id = uuid.uuid4().hex[:12]
    # The call's span has ended by now: what tells of it is what the caller is told.
    trace_id = dict(context.trailing_metadata() or ()).get(TRACE_ID, "")
    log.error("unforeseen error", trace_id=trace_id, error_id=error_id, exc_info=error)
    field = error.field if isinstance(error, TrichordError) else ""
    return InternalError(f"Internal error {error_id}. Report this id to the operator.", field=field)


class LimitInterceptor(Guarding):
    """Refuses calls over a bound on those in progress. Health and reflection do not count: a busy server is alive."""

    def __init__(self, max_concurrent_rpcs: int) -> None:
        self._max_concurrent_rpcs = max_concurrent_rpcs
        self._num_in_progress = 0

    def _applies(self, method: str) -> bool:
        return not method.startswith("/grpc.")

    @contextlib.asynccontextmanager
    async def _guard(self, context: Context, method: str) -> AsyncIterator[None]:
        if self._num_in_progress >= self._max_concurrent_rpcs:
            raise OverloadedError("Too many calls are in progress here. Try again shortly.", retry_after_s=1.0)
        self._num_in_progress += 1
        try:
            yield
        finally:
            self._num_in_progress -= 1
