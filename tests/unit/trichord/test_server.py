"""The server every service runs, over real calls on loopback: errors, limits, reflection, channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc
import pytest
import structlog
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.unit.trichord.echo import (
    NOT_SERVING,
    SERVICE,
    SOON_S,
    Echo,
    Served,
    call,
    check,
    said,
    served,
)
from trichord import server
from trichord.errors import (
    DeadlineError,
    FeatureOffError,
    InternalError,
    MediaError,
    OverloadedError,
    SettingsError,
)
from trichord.interceptors import TRACE_ID
from trichord.settings import ServiceSettings
from trichord.status import from_rpc_error
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

# Errors


async def raise_on(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
    raise MediaError("Not an image.", field="image")


async def test_an_error_of_ours_arrives_as_itself(echo: Served) -> None:
    echo.echo.answer = raise_on
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.stub.PutMedia(said("x"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    error = from_rpc_error(caught.value, "echo")
    assert (type(error), error.message, error.field) == (MediaError, "Not an image.", "image")


async def test_an_error_in_mid_stream_follows_what_was_sent(echo: Served) -> None:
    async def two_then_fail(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
        yield gateway_pb2.ChatResponse()
        yield gateway_pb2.ChatResponse()
        raise MediaError("Not an image.", field="image")

    echo.echo.stream = two_then_fail
    stream = echo.stub.Chat(gateway_pb2.ChatRequest())
    assert [await stream.read(), await stream.read()] == [gateway_pb2.ChatResponse()] * 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert type(from_rpc_error(caught.value, "echo")) is MediaError


BUGS = [
    ValueError("secret /srv/path"),
    KeyError("secret"),
    OSError(2, "secret"),
    NotImplementedError("secret"),
    InternalError("secret"),
    SettingsError("secret"),
    grpc.aio.UsageError("secret"),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_bug_is_told_by_an_id_that_finds_its_log_line(echo: Served, bug: Exception, streamed: bool) -> None:
    async def fail(request: object) -> gateway_pb2.PutMediaResponse:
        raise bug

    async def fail_streaming(request: object) -> AsyncIterator[gateway_pb2.ChatResponse]:
        raise bug
        yield

    echo.echo.answer, echo.echo.stream = fail, fail_streaming
    call = echo.stub.Chat(gateway_pb2.ChatRequest()).read() if streamed else echo.stub.PutMedia(said("x"))
    with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    error = from_rpc_error(caught.value, "echo")
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert type(error) is InternalError
    assert error.message == f"Internal error {line['error_id']}. Report this id to the operator."
    assert line["exc_info"] is bug
    assert "secret" not in str(caught.value)


async def test_the_line_of_a_bug_names_the_trace_that_the_caller_is_told(echo: Served) -> None:
    async def fail(request: object) -> gateway_pb2.PutMediaResponse:
        raise ValueError("secret")

    echo.echo.answer = fail
    with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.stub.PutMedia(said("x"))
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["trace_id"] == dict(caught.value.trailing_metadata() or ())[TRACE_ID]
    assert len(line["trace_id"]) == 32


async def test_a_bug_keeps_the_part_it_happened_in(echo: Served) -> None:
    async def fail(request: object) -> gateway_pb2.PutMediaResponse:
        raise InternalError("secret", field="image")

    echo.echo.answer = fail
    with structlog.testing.capture_logs(), pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.stub.PutMedia(said("x"))
    assert from_rpc_error(caught.value, "echo").field == "image"


async def test_an_abort_by_the_handler_passes(echo: Served) -> None:
    class Aborting(Echo):
        async def PutMedia(self, request: object, context: grpc.aio.ServicerContext) -> None:  # type: ignore[override, type-arg]
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "twice")

    running = await server.start(Aborting().register, ServiceSettings())
    async with server.open_channel(f"127.0.0.1:{running.port}", 1 << 20) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(said("x"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ALREADY_EXISTS, "twice")
    await running.server.stop(0)


async def test_a_method_that_is_not_there_is_unimplemented(echo: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.stub.GetModel(gateway_pb2.OmniServiceGetModelRequest())
    assert isinstance(from_rpc_error(caught.value, "echo"), FeatureOffError)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.channel.unary_unary("/trichord.v1.OmniService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_that_is_none_is_refused_without_a_word_of_the_parser(echo: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.channel.unary_unary(f"/{SERVICE}/PutMedia")(b"\xff\xff\xff")
    assert "Traceback" not in str(caught.value.details())


# Limits


async def test_a_message_over_the_limit_is_refused() -> None:
    async with served() as echo:
        limit = echo.running.settings.max_message_bytes
        assert limit == 64 * 1024 * 1024
        generous = grpc.aio.insecure_channel(
            f"127.0.0.1:{echo.running.port}", options=[("grpc.max_send_message_length", -1)]
        )
        async with generous as channel:
            stub = gateway_pb2_grpc.OmniServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.PutMedia(said("x" * limit))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.stub.PutMedia(said("x" * limit))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_within_the_limit_passes_both_ways() -> None:
    """Over gRPC's default of 4 MiB."""
    async with served() as echo:
        response = await echo.stub.PutMedia(said("x" * 5_000_000))
    assert len(response.media_handle) == 5_000_000


async def test_calls_over_the_bound_are_refused_and_health_is_not(echo: Served) -> None:
    release, inside = asyncio.Event(), asyncio.Barrier(3)

    async def hold(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
        await inside.wait()
        await release.wait()
        return gateway_pb2.PutMediaResponse()

    echo.echo.answer = hold
    calls = [asyncio.create_task(call(echo, "x")) for _ in range(2)]
    await asyncio.wait_for(inside.wait(), SOON_S)
    for method in (echo.stub.PutMedia(said("x")), echo.stub.Chat(gateway_pb2.ChatRequest()).read()):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method
        error = from_rpc_error(caught.value, "echo")
        assert isinstance(error, OverloadedError)
        assert error.retry_after_s is not None
    assert (await check(echo)).status == NOT_SERVING
    release.set()
    await asyncio.gather(*calls)
    assert len([response async for response in echo.stub.Chat(gateway_pb2.ChatRequest())]) == 1


async def test_a_call_that_fails_or_leaves_gives_its_place_back(echo: Served) -> None:
    """Five of each, where two may be in progress."""
    echo.echo.answer = raise_on
    for _ in range(5):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.stub.PutMedia(said("x"))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    closed = asyncio.Queue[None]()

    async def endless(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
        try:
            while True:
                yield gateway_pb2.ChatResponse()
                await asyncio.sleep(0)
        finally:
            closed.put_nowait(None)

    echo.echo.stream = endless
    for _ in range(5):
        stream = echo.stub.Chat(gateway_pb2.ChatRequest())
        await stream.read()
        stream.cancel()
        await asyncio.wait_for(closed.get(), SOON_S)


def test_deadlines_are_those_of_the_caller_up_to_the_deployments() -> None:
    assert server.remaining_s(with_remaining(None), 300) == 300
    assert server.remaining_s(with_remaining(7.5), 300) == 7.5
    assert server.remaining_s(with_remaining(1e9), 300) == 300
    for late_s in (0.0, -3.0):
        with pytest.raises(DeadlineError):
            server.remaining_s(with_remaining(late_s), 300)


def with_remaining(seconds: float | None) -> grpc.aio.ServicerContext:  # type: ignore[type-arg]
    class Context:
        def time_remaining(self) -> float | None:
            return seconds

    return Context()  # type: ignore[return-value]


# Reflection


async def reflect(
    echo: Served, version: str, *requests: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    """The answers of the service as a client of ``version`` asks it: both have the same messages."""
    method = echo.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return [response async for response in method(iter(requests), timeout=SOON_S)]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_every_service(echo: Served, version: str) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    listed, described = await reflect(echo, version, ask(list_services="*"), ask(file_containing_symbol=SERVICE))
    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in described.file_descriptor_response.file_descriptor_proto
    ]
    assert "trichord/v1/gateway.proto" in {file.name for file in files}


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_can_be_off(version: str) -> None:
    async with served(reflection=False) as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflect(echo, version, reflection_pb2.ServerReflectionRequest(list_services="*"))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Channels


async def test_a_channel_balances_over_its_addresses() -> None:
    async with served() as one, served() as other:
        seen: list[str] = []

        def noting(name: str) -> None:
            echo = {"one": one, "other": other}[name]

            async def answer(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
                seen.append(name)
                return gateway_pb2.PutMediaResponse()

            echo.echo.answer = answer

        noting("one")
        noting("other")
        target = f"ipv4:127.0.0.1:{one.running.port},127.0.0.1:{other.running.port}"
        async with server.open_channel(target, 1 << 20) as channel:
            async with asyncio.timeout(SOON_S):
                while len(set(seen)) < 2:
                    await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(said("x"))
            seen.clear()
            for _ in range(10):
                await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(said("x"))
        assert counts(seen) == [5, 5]


def counts(names: Sequence[str]) -> list[int]:
    return [names.count(name) for name in sorted(set(names))]


async def test_a_silent_stream_outlives_its_clients_keepalive(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing_for_long(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
        await asyncio.sleep(5.5)  # gRPC asks once a second at most; the fourth time is too often by default
        yield gateway_pb2.ChatResponse()

    monkeypatch.setattr(server, "KEEPALIVE_S", 0.5)
    async with served() as echo:
        echo.echo.stream = say_nothing_for_long
        monkeypatch.setattr(server, "KEEPALIVE_S", 0.3)  # who asks last is not asked: the server would be the first
        async with server.open_channel(f"127.0.0.1:{echo.running.port}", 10_000) as channel:
            stub = gateway_pb2_grpc.OmniServiceStub(channel)
            assert len([response async for response in stub.Chat(gateway_pb2.ChatRequest())]) == 1
