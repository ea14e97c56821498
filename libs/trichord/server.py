"""The gRPC server that every service runs: limits, health, reflection, errors, drain.

Order of a drain: health fails, a notice period in which calls are still served, then new calls are refused while old
ones finish, then what is left is aborted. Knows no service: it is handed them.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
import uvloop
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from trichord import health
from trichord.errors import DeadlineError, TrichordError
from trichord.health_port import health_port
from trichord.interceptors import ErrorInterceptor, LimitInterceptor
from trichord.settings import ServiceSettings
from trichord.telemetry import build_info, loop_lag, spans
from trichord.telemetry.calls import ObservingInterceptor
from trichord.telemetry.metrics_port import metrics_port
from trichord.telemetry.settings import TelemetrySettings
from trichord.telemetry.tracing import tracing
from trichord.tls import TlsSettings, channel_credentials, name_options, server_credentials

log = structlog.get_logger(__name__)

Register = Callable[[grpc.aio.Server], Sequence[str]]
"""Adds servicers to a server and returns the full names of their services."""

Probe = Callable[[], Awaitable[bool]]
"""Tells whether this process can serve now. Raising counts as no."""

PROBE_INTERVAL_S = 0.5

UNCOUNTED_RPCS = 64
"""Health checks, reflection and refusals in progress at once, beside the calls that settings allow."""


MAX_CONNECTION_AGE_S = 900.0
"""A connection older than this takes no new calls (gRFC A9; +-10 %): its client connects anew, perhaps elsewhere."""
KEEPALIVE_S = 60.0
"""Silence after which either end asks whether the other is still there; servers take such questions twice as often."""
CONNECTION_GRACE_S = 30.0
"""Beyond the longest call's deadline: calls on an aged connection end by themselves."""


def channel_options(max_message_bytes: int) -> list[tuple[str, Any]]:
    """Options of a server or a client channel: the same message limits on both ends, and keepalive."""
    return [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # What a server takes; by default a second ping within 5 minutes of silence is abuse already.
        ("grpc.http2.min_ping_interval_without_data_ms", int(KEEPALIVE_S * 500)),
    ]


SLOW_READER_OPTIONS: list[tuple[str, Any]] = [
    # A window follows the measured bandwidth otherwise, up to megabytes; and with the probe on, the next is not heeded.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4096),
]
"""Options of a client channel that streams tokens and may read them slowly: its peer can send 4 KiB of a stream ahead,
some 250 chunks of one token, and then waits. The reader sets a window, never the writer: a server has no such option.
A response larger than that takes a round trip more; requests are not touched."""


def client_options(max_message_bytes: int) -> list[tuple[str, Any]]:
    """Options of every client channel: balanced over the addresses of its target, soon back after a restart."""
    return [
        *channel_options(max_message_bytes),
        ("grpc.lb_policy_name", "round_robin"),
        ("grpc.initial_reconnect_backoff_ms", 250),
        ("grpc.max_reconnect_backoff_ms", 2_000),  # gRPC's own 120 s would outlast a restarted peer by far
        # Channels share connections by address otherwise, and with them the backoff of a server that is long gone.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def server_options(settings: ServiceSettings) -> list[tuple[str, Any]]:
    """Options of every server: one process a port, and connections that end, so that clients find new replicas."""
    grace_s = settings.default_deadline_s + CONNECTION_GRACE_S
    return [
        *channel_options(settings.max_message_bytes),
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_age_ms", int(MAX_CONNECTION_AGE_S * 1000)),
        ("grpc.max_connection_age_grace_ms", int(grace_s * 1000)),
        # A peer's keepalive on a connection that has just become idle would count as abuse, and end it.
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def open_channel(
    target: str, max_message_bytes: int, *, is_slow_reader: bool = False, tls: TlsSettings | None = None
) -> grpc.aio.Channel:
    """A channel to ``target`` (any gRPC target string), balanced over its addresses; plaintext unless ``tls`` is on.

    ``is_slow_reader`` keeps what its streams are ahead of their reader short; see ``SLOW_READER_OPTIONS``.
    """
    options = [*(SLOW_READER_OPTIONS if is_slow_reader else ()), *client_options(max_message_bytes)]
    if tls is None or not tls.is_on:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, channel_credentials(tls), options=[*options, *name_options(tls)])


def remaining_s(context: grpc.aio.ServicerContext[Any, Any], default_s: float) -> float:
    """Seconds that the caller still waits, at most ``default_s``; raises DeadlineError if none are left."""
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        raise DeadlineError("The deadline passed before the request was taken up.")
    return default_s if remaining is None else min(remaining, default_s)


@dataclass
class RunningServer:
    """A server that serves; stop it with ``drain``."""

    server: grpc.aio.Server
    port: int
    health: health.HealthServicer
    settings: ServiceSettings

    async def watch(self, probe: Probe) -> None:
        """Keeps health true to ``probe`` until cancelled."""
        serving = None
        while True:
            now = await _holds(probe)
            if now != serving:
                await self.health.set_serving(now)
                log.info("health", serving=now)
            serving = now
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def drain(self) -> None:
        """Fails health, serves on for the notice period, lets calls finish, then aborts what is left."""
        await self.health.shut_down()
        await asyncio.sleep(self.settings.drain_notice_s)
        await self.server.stop(self.settings.drain_timeout_s)


async def _holds(probe: Probe) -> bool:
    try:
        return await probe()
    except Exception as error:  # whatever keeps a probe from answering is a no
        log.warning("probe failed", error=repr(error))
        return False


async def start(
    register: Register,
    settings: ServiceSettings,
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    tls: TlsSettings | None = None,
    trusts_parent: bool = True,
) -> RunningServer:
    """Starts to serve, NOT_SERVING until a probe says otherwise; plaintext unless ``tls`` is on.

    ``interceptors`` run inside of those that tell errors and trace, before a call counts as in progress. At the edge
    ``trusts_parent`` is false: see ``ObservingInterceptor``. Raises OSError if the address is taken, SettingsError for
    certificates that are none.
    """
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)
    server = grpc.aio.server(
        interceptors=[
            ErrorInterceptor(),
            ObservingInterceptor(trusts_parent=trusts_parent),
            *interceptors,
            LimitInterceptor(settings.max_concurrent_rpcs),
        ],
        options=server_options(settings),
        maximum_concurrent_rpcs=settings.max_concurrent_rpcs + UNCOUNTED_RPCS,
    )
    services = list(register(server))
    health_servicer = health.HealthServicer(services)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if settings.reflection:
        _add_reflection(server, services)
    try:
        port = _add_port(server, settings.listen, tls)
    except RuntimeError as error:
        raise OSError(f"Cannot listen on {settings.listen}: the address is taken or not this machine's.") from error
    await server.start()
    log.info("listening", port=port)
    return RunningServer(server, port, health_servicer, settings)


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a client left while it was written to, which gRPC calls an error: the call's own line says so."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


async def serve(
    register: Register,
    probe: Probe,
    settings: ServiceSettings,
    *,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    tls: TlsSettings | None = None,
    trusts_parent: bool = True,
    other_drains: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Serves as ``start`` does until SIGTERM or SIGINT, then drains; a second signal stops at once.

    ``other_drains`` are of what else this process serves: they run beside this server's own.
    """
    running = await start(register, settings, interceptors=interceptors, tls=tls, trusts_parent=trusts_parent)
    with metrics_port(settings.metrics_listen):
        async with health_port(running.health, settings.health_listen):
            await _until_stopped(running, probe, other_drains)


async def _until_stopped(
    running: RunningServer, probe: Probe, other_drains: Sequence[Callable[[], Coroutine[Any, Any, None]]]
) -> None:
    """Watches ``probe`` until a signal comes, then drains until that is done or a second one comes."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watches = [
        asyncio.create_task(running.watch(probe), name="health-watch", context=spans.background()),
        asyncio.create_task(loop_lag.measure(), name="loop-lag"),
    ]
    await stopping.wait()
    log.info("draining")
    for watch in watches:
        watch.cancel()
    stopping.clear()
    hard_stop = asyncio.create_task(stopping.wait(), name="second-signal")
    drains = [running.drain(), *(drain() for drain in other_drains)]
    drained = asyncio.create_task(_all(drains), name="drain")
    await asyncio.wait({hard_stop, drained}, return_when=asyncio.FIRST_COMPLETED)
    await running.server.stop(0)
    log.info("stopped")


async def _all(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*works)


def run(service: str, main: Coroutine[Any, Any, None]) -> None:
    """Runs a service's ``main`` to its end, traced; an error of ours at start is one sentence and exit status 1."""
    build_info.tell(service)
    try:
        with tracing(service, TelemetrySettings.from_environment()):
            uvloop.run(main)
    except (TrichordError, OSError) as error:
        raise SystemExit(f"cannot start: {error}") from error


def _add_port(server: grpc.aio.Server, listen: str, tls: TlsSettings | None) -> int:
    if tls is None or not tls.is_on:
        return server.add_insecure_port(listen)
    return server.add_secure_port(listen, server_credentials(tls))


def _add_reflection(server: grpc.aio.Server, services: Sequence[str]) -> None:
    # The library serves v1alpha only; v1 has the same messages, and some tools ask for nothing else.
    names = [*services, health.SERVICE_NAME, "grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME]
    servicer = reflection.aio.ReflectionServicer(names)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    v1 = grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler})
    server.add_generic_rpc_handlers((v1,))
