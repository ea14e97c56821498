"""How a server starts and stops: health fails first, calls finish, new ones are refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.unit.trichord.echo import (
    NOT_SERVING,
    SERVICE,
    SERVING,
    SOON_S,
    Echo,
    Served,
    call,
    check,
    said,
    served,
    watch,
)
from trichord import server
from trichord.errors import (
    SettingsError,
    UnavailableError,
)
from trichord.settings import ServiceSettings
from trichord.status import from_rpc_error
from trichord.v1 import gateway_pb2, gateway_pb2_grpc


async def test_a_drain_fails_health_first_and_serves_on_for_the_notice() -> None:
    async with served(drain_notice_s=3600) as echo:
        await echo.running.health.set_serving(True)
        statuses = watch(echo, SERVICE)
        assert (await statuses.read()).status == SERVING
        drain = asyncio.create_task(echo.running.drain())
        assert (await statuses.read()).status == NOT_SERVING
        assert await call(echo, "still here") == "still here"
        await echo.running.health.set_serving(True)
        assert (await check(echo)).status == NOT_SERVING
        statuses.cancel()
        drain.cancel()


async def test_a_drain_lets_calls_finish_and_takes_no_new_ones() -> None:
    async with served(drain_timeout_s=SOON_S) as echo:
        inside, release = asyncio.Event(), asyncio.Event()

        async def slow(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
            yield gateway_pb2.ChatResponse()
            inside.set()
            await release.wait()
            yield gateway_pb2.ChatResponse()

        echo.echo.stream = slow
        stream = echo.stub.Chat(gateway_pb2.ChatRequest(), timeout=SOON_S)
        await stream.read()
        await inside.wait()
        drain = asyncio.create_task(echo.running.drain())
        async with asyncio.timeout(SOON_S):
            refusal = await first_refusal(echo)
        assert isinstance(refusal, UnavailableError)
        release.set()
        assert await stream.read() == gateway_pb2.ChatResponse()
        assert await stream.read() is grpc.aio.EOF
        await asyncio.wait_for(drain, SOON_S)


async def first_refusal(echo: Served) -> Exception:
    """Calls over connections of their own until one is refused."""
    while True:
        async with server.open_channel(f"127.0.0.1:{echo.running.port}", 1 << 20) as channel:
            try:
                await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(said("x"), timeout=2)
            except grpc.aio.AioRpcError as error:
                # A connection that comes while the port is being closed may be one that nobody serves.
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    return from_rpc_error(error, "echo")


async def test_a_drain_cuts_what_does_not_finish() -> None:
    async with served(drain_timeout_s=0.1) as echo:
        left = asyncio.Event()

        async def stuck(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
            try:
                yield gateway_pb2.ChatResponse()
                await asyncio.Event().wait()
            finally:
                left.set()

        echo.echo.stream = stuck
        stream = echo.stub.Chat(gateway_pb2.ChatRequest(), timeout=SOON_S)
        await stream.read()
        await asyncio.wait_for(echo.running.drain(), SOON_S)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert isinstance(from_rpc_error(caught.value, "echo"), UnavailableError)
        await asyncio.wait_for(left.wait(), SOON_S)


# Start


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=address):
            await server.start(Echo().register, ServiceSettings(listen=address))


@pytest.mark.parametrize("error", [SettingsError("X is not set."), OSError("Cannot listen.")])
def test_an_error_at_start_is_one_sentence(error: Exception) -> None:
    async def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        server.run("test", main())
    assert exit_.value.code == f"cannot start: {error}"


def test_a_bug_at_start_is_not_hidden() -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        server.run("test", main())
