"""The gRPC server that every service runs: limits, health, reflection, errors, drain.

Order of a drain: health fails, a notice period in which calls are still served, then new calls are refused while old
ones finish, then what is left is aborted. Knows no service: it is handed them.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

from trichord.errors import DeadlineError, InternalError, TrichordError
from trichord.settings import ServiceSettings
from trichord.status import to_status

log = structlog.get_logger(__name__)

Register = Callable[[grpc.aio.Server], Sequence[str]]
"""Adds servicers to a server and returns the full names of their services."""

Probe = Callable[[], Awaitable[bool]]
"""Tells whether this process can serve now. Raising counts as no."""

PROBE_INTERVAL_S = 0.5


def channel_options(max_message_bytes: int) -> list[tuple[str, Any]]:
    """Options of a server or a client channel: the same message limits on both ends, and keepalive."""
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
    ]


def open_channel(target: str, max_message_bytes: int) -> grpc.aio.Channel:
    """A plaintext channel to ``target`` (any gRPC target string), balanced over its addresses."""
    options = channel_options(max_message_bytes)
    options.append(("grpc.lb_policy_name", "round_robin"))
    return grpc.aio.insecure_channel(target, options=options)


def remaining_s(context: grpc.aio.ServicerContext[Any, Any], default_s: float) -> float:
    """Seconds that the caller still waits, at most ``default_s``; raises DeadlineError if none are left."""
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineError("The deadline passed before the request was taken up.")
    return default_s if remaining is None else min(remaining, default_s)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns TrichordError into its status, and anything unforeseen into INTERNAL with an id and nothing else."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        """See ``grpc.aio.ServerInterceptor``."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        for kind in ("unary_unary", "stream_unary"):
            if method := getattr(handler, kind):
                return handler._replace(**{kind: _answering(method)})
        for kind in ("unary_stream", "stream_stream"):
            if method := getattr(handler, kind):
                return handler._replace(**{kind: _streaming(method)})
        return handler


def _answering(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await method(request, context)
        except Exception as error:
            await _abort(context, error)

    return call


def _streaming(method: Callable[..., AsyncGenerator[Any, None]]) -> Callable[..., AsyncIterator[Any]]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        responses = method(request, context)
        try:
            async for response in responses:
                yield response
        except Exception as error:
            await _abort(context, error)
        finally:
            # A consumer that leaves parks us at the yield; closing runs the handler's own finally now, not at gc.
            await responses.aclose()

    return call


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, TrichordError):
        error_id = uuid.uuid4().hex[:12]
        log.error("unforeseen error", error_id=error_id, exc_info=error)
        error = InternalError(f"Internal error {error_id}. Report this id to the operator.")
    await context.abort_with_status(to_status(error))


@dataclass
class RunningServer:
    """A server that serves; stop it with ``drain``."""

    server: grpc.aio.Server
    port: int
    health: health_aio.HealthServicer
    services: Sequence[str]
    settings: ServiceSettings

    async def watch(self, probe: Probe) -> None:
        """Keeps health true to ``probe`` until cancelled."""
        serving = None
        while True:
            now = await _holds(probe)
            if now != serving:
                await self._set(health_pb2.HealthCheckResponse.SERVING if now else _NOT_SERVING)
                log.info("health", serving=now)
            serving = now
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def drain(self) -> None:
        """Fails health, serves on for the notice period, lets calls finish, then aborts what is left."""
        await self.health.enter_graceful_shutdown()
        await asyncio.sleep(self.settings.drain_notice_s)
        await self.server.stop(self.settings.drain_timeout_s)

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *self.services):
            await self.health.set(name, status)


_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def _holds(probe: Probe) -> bool:
    try:
        return await probe()
    except Exception as error:  # whatever keeps a probe from answering is a no
        log.debug("probe failed", error=repr(error))
        return False


async def start(register: Register, settings: ServiceSettings) -> RunningServer:
    """Starts to serve, NOT_SERVING until a probe says otherwise. Raises OSError if the address is taken."""
    server = grpc.aio.server(
        interceptors=[ErrorInterceptor()],
        options=[*channel_options(settings.max_message_bytes), ("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
    )
    services = list(register(server))
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if settings.reflection:
        _add_reflection(server, services)
    try:
        port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {settings.listen}: the address is taken or not this machine's.") from error
    running = RunningServer(server, port, health, services, settings)
    await running._set(_NOT_SERVING)
    await server.start()
    log.info("listening", port=port)
    return running


async def serve(register: Register, probe: Probe, settings: ServiceSettings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal stops at once."""
    running = await start(register, settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watch = asyncio.create_task(running.watch(probe), name="health-watch")
    await stopping.wait()
    log.info("draining")
    watch.cancel()
    stopping.clear()
    hard_stop = asyncio.create_task(stopping.wait(), name="second-signal")
    drain = asyncio.create_task(running.drain(), name="drain")
    await asyncio.wait({hard_stop, drain}, return_when=asyncio.FIRST_COMPLETED)
    await running.server.stop(0)
    log.info("stopped")


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs a service's ``main`` to its end; an error of ours at start is one sentence and exit status 1."""
    try:
        asyncio.run(main)
    except (TrichordError, OSError) as error:
        raise SystemExit(f"cannot start: {error}") from error


def _add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    # The library serves v1alpha only; v1 has the same messages, and some tools ask for nothing else.
    names = [*services, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME]
    servicer = reflection.ReflectionServicer(names)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    v1 = grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((v1,))
