"""One line a request: what was added on its way, how it ended, and no method that a caller made up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trichord import server
from trichord.errors import OverloadedError
from trichord.settings import ServiceSettings
from trichord.telemetry import calls, request_line
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

PUT = "trichord.v1.OmniService/PutMedia"


class Service(gateway_pb2_grpc.OmniServiceServicer):
    """Adds to its lines."""

    async def PutMedia(self, request: gateway_pb2.PutMediaRequest, context: object) -> gateway_pb2.PutMediaResponse:
        request_line.add(bytes=len(request.image_bytes), request_id=request.image_bytes.decode())
        await asyncio.create_task(self.work(request.image_bytes.decode()))
        if not request.image_bytes:
            raise OverloadedError("xyzzy")
        return gateway_pb2.PutMediaResponse()

    async def work(self, name: str) -> None:
        await asyncio.sleep(0)
        request_line.add(worker=name)
        await asyncio.to_thread(request_line.add, thread=name)

    async def Chat(self, request: gateway_pb2.ChatRequest, context: object) -> AsyncIterator[gateway_pb2.ChatResponse]:
        for number in range(1000):
            request_line.add(tokens=number)
            yield gateway_pb2.ChatResponse(token=gateway_pb2.ChatToken(text=request.request_id * 50_000))
            await asyncio.sleep(0)


class Anything(grpc.aio.ServerInterceptor):
    """Answers whatever is called, as a guard does that refuses."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        async def refuse(requests: object, context: object) -> AsyncIterator[bytes]:
            raise OverloadedError("No.")
            yield b""

        return await continuation(details) or grpc.stream_stream_rpc_method_handler(refuse)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    def register(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(Service(), grpc_server)
        return ["trichord.v1.OmniService"]

    running = await server.start(register, ServiceSettings(), interceptors=[Anything()])
    async with server.open_channel(f"127.0.0.1:{running.port}", 1 << 20) as channel:
        yield channel
    await running.server.stop(0)


def requests(logs: list[Any]) -> list[Any]:
    return [line for line in logs if line["event"] == "request"]


async def test_every_call_is_a_line_of_its_own_facts(channel: grpc.aio.Channel) -> None:
    stub = gateway_pb2_grpc.OmniServiceStub(channel)
    names = [f"request-{number}" for number in range(20)]
    with structlog.testing.capture_logs() as logs:
        await asyncio.gather(*(stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=n.encode())) for n in names))
    lines = requests(logs)
    assert sorted(line["request_id"] for line in lines) == sorted(names)
    for line in lines:
        assert line["worker"] == line["thread"] == line["request_id"]
        assert (line["method"], line["status"], line["log_level"]) == (PUT, "OK", "info")
        assert line["duration_ms"] >= 0
        assert "error" not in line


async def test_a_failure_is_named_and_not_quoted(channel: grpc.aio.Channel) -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError):
        await gateway_pb2_grpc.OmniServiceStub(channel).PutMedia(gateway_pb2.PutMediaRequest())
    (line,) = requests(logs)
    assert (line["status"], line["error"], line["bytes"]) == ("RESOURCE_EXHAUSTED", "OVERLOADED", 0)
    assert "xyzzy" not in str(logs)


async def test_who_leaves_is_told_with_what_there_was(channel: grpc.aio.Channel) -> None:
    with structlog.testing.capture_logs() as logs:
        call = gateway_pb2_grpc.OmniServiceStub(channel).Chat(gateway_pb2.ChatRequest())
        await call.read()
        call.cancel()
        async with asyncio.timeout(20):
            while not requests(logs):  # noqa: ASYNC110 - nobody else tells
                await asyncio.sleep(0.01)
    (line,) = requests(logs)
    assert (line["status"], line["error"]) == ("CANCELLED", "CANCELLED")
    assert "tokens" in line


async def test_who_leaves_while_it_is_written_to_is_no_error(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logs:
        call = gateway_pb2_grpc.OmniServiceStub(channel).Chat(gateway_pb2.ChatRequest(request_id="x"))
        await call.read()
        await asyncio.sleep(0.2)  # until the connection takes no more, and gRPC waits at its write
        call.cancel()
        async with asyncio.timeout(20):
            while not requests(logs):  # noqa: ASYNC110 - nobody else tells
                await asyncio.sleep(0.01)
    assert [(line["status"], line["log_level"]) for line in logs] == [("CANCELLED", "info")]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_health_checks_are_not_requests(channel: grpc.aio.Channel) -> None:
    with structlog.testing.capture_logs() as logs:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert requests(logs) == []


async def test_a_method_that_a_caller_made_up_names_nothing(channel: grpc.aio.Channel) -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary("/trichord.v1.OmniService/Xyzzy")(b"")
    (line,) = requests(logs)
    assert (line["method"], line["error"]) == ("_OTHER", "OVERLOADED")
    series = [sample.labels["rpc_method"] for metric in calls.DURATION.collect() for sample in metric.samples]
    assert "_OTHER" in series
    assert not any("Xyzzy" in method for method in series)


def test_outside_of_a_request_nothing_is_kept() -> None:
    request_line.add(tokens=1)
    assert request_line.identity() == {}
    with request_line.begun() as line:
        request_line.add(tenant="0123", tokens=2)
        assert request_line.identity() == {"tenant": "0123"}
    assert line == {"tenant": "0123", "tokens": 2}
    assert request_line.identity() == {}


async def test_a_hop_is_told_the_requests_name(channel: grpc.aio.Channel) -> None:
    with structlog.testing.capture_logs() as logs, request_line.begun(request_id="req_1"):
        named = request_line.outbound()
        with pytest.raises(grpc.aio.AioRpcError):
            await gateway_pb2_grpc.OmniServiceStub(channel).Encode(gateway_pb2.EncodeRequest(), metadata=named)
    (line,) = requests(logs)
    assert (line["request_id"], line["status"]) == ("req_1", "INTERNAL")


@pytest.mark.parametrize("name", ["", "x" * 129, "a\nb", "\u20ac", b"bytes"])
def test_what_is_no_name_is_not_passed_on(name: str | bytes) -> None:
    assert request_line.inbound([(request_line.HEADER, name)]) == {}
    with request_line.begun(request_id=name):  # type: ignore[arg-type]
        assert request_line.outbound() == ()
