"""Every method of a real server is closed to whoever may not call it; enumerated, so that none is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.identity.guard import REFUSAL, Guard
from gateway.identity.interceptor import AuthInterceptor
from gateway.identity.principal import Scope, current_principal
from gateway.identity.scopes import OPEN_METHODS, SCOPE_OF_METHOD
from tests.unit.gateway.identity.keys import bearer, guard_of, lines, new_key, revoke
from trichord import server
from trichord.errors import InternalError
from trichord.settings import ServiceSettings
from trichord.status import from_rpc_error
from trichord.v1 import gateway_pb2, gateway_pb2_grpc, jobs_pb2

SERVICE = "trichord.v1.OmniService"
PUT, CHAT = f"/{SERVICE}/PutMedia", f"/{SERVICE}/Chat"
SOON_S = 20
REFLECTION = [f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")]

METHODS = [
    *(f"/{SERVICE}/{method.name}" for method in gateway_pb2.DESCRIPTOR.services_by_name["OmniService"].methods),
    *(
        f"/trichord.v1.JobService/{method.name}"
        for method in jobs_pb2.DESCRIPTOR.services_by_name["JobService"].methods
    ),
    *(f"/grpc.health.v1.Health/{method.name}" for method in health_pb2.DESCRIPTOR.services_by_name["Health"].methods),
    *REFLECTION,
]
"""Of every service that a gateway serves."""
CLOSED = [method for method in METHODS if method not in OPEN_METHODS]


class Tenants(gateway_pb2_grpc.OmniServiceServicer):
    """Tells every caller their tenant."""

    def __init__(self) -> None:
        self.num_calls = 0

    async def PutMedia(self, request: Any, context: Any) -> gateway_pb2.PutMediaResponse:
        self.num_calls += 1
        await asyncio.sleep(0)
        return gateway_pb2.PutMediaResponse(media_handle=current_principal().tenant)

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[gateway_pb2.ChatResponse]:
        self.num_calls += 1
        for _ in range(3):
            await asyncio.sleep(0)
            yield gateway_pb2.ChatResponse(token=gateway_pb2.ChatToken(text=current_principal().tenant))


class Door(NamedTuple):
    """A gateway's door with nothing behind it, and a client of it."""

    servicer: Tenants
    channel: grpc.aio.Channel
    running: server.RunningServer

    async def call(self, method: str, authorization: str | None = None, request: bytes = b"") -> grpc.StatusCode:
        """How any method ends, called with raw bytes."""
        metadata = [("authorization", authorization)] if authorization is not None else []
        try:
            answers = self.channel.unary_stream(method)(request, metadata=metadata, timeout=SOON_S)
            async for _ in answers:
                break
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@contextlib.asynccontextmanager
async def door_of(guard: Guard, register: Callable[[grpc.aio.Server], None] = lambda _: None) -> AsyncIterator[Door]:
    servicer = Tenants()

    def register_all(grpc_server: grpc.aio.Server) -> list[str]:
        gateway_pb2_grpc.add_OmniServiceServicer_to_server(servicer, grpc_server)
        register(grpc_server)
        return [SERVICE]

    running = await server.start(register_all, ServiceSettings(), interceptors=[AuthInterceptor(guard)])
    async with server.open_channel(f"127.0.0.1:{running.port}", 64 << 20) as channel:
        yield Door(servicer, channel, running)
    await running.server.stop(0)


@pytest.fixture
async def door(file: Path, audit: Path) -> AsyncIterator[Door]:
    async with door_of(guard_of(file, audit)) as running:
        yield running


def test_the_table_has_what_is_served_and_nothing_else() -> None:
    assert set(SCOPE_OF_METHOD) == set(CLOSED)
    assert len(CLOSED) >= 9
    assert set(METHODS) >= OPEN_METHODS


@pytest.mark.parametrize("method", CLOSED)
async def test_without_a_key_nothing_answers(door: Door, method: str) -> None:
    for authorization in (None, "", "Bearer ", "Bearer nonsense"):
        assert await door.call(method, authorization) is grpc.StatusCode.UNAUTHENTICATED
    assert door.servicer.num_calls == 0


@pytest.mark.parametrize("method", CLOSED)
async def test_a_key_of_every_other_scope_is_not_enough(door: Door, file: Path, method: str) -> None:
    others = new_key(file, scopes=[scope for scope in Scope if scope is not SCOPE_OF_METHOD[method]])
    assert await door.call(method, bearer(others)) is grpc.StatusCode.PERMISSION_DENIED
    assert door.servicer.num_calls == 0


@pytest.mark.parametrize("method", CLOSED)
async def test_a_key_of_the_scope_is(door: Door, file: Path, method: str) -> None:
    key = new_key(file, scopes=[SCOPE_OF_METHOD[method]])
    written = method in (PUT, CHAT, *REFLECTION)
    expected = grpc.StatusCode.OK if written else grpc.StatusCode.UNIMPLEMENTED
    assert await door.call(method, bearer(key)) is expected


@pytest.mark.parametrize("method", ["/x.Y/Unary", "/x.Y/Streaming"])
async def test_a_method_that_is_not_in_the_table_is_for_nobody(file: Path, audit: Path, method: str) -> None:
    async def unary(request: bytes, context: Any) -> bytes:
        raise AssertionError("nobody gets here")

    async def streaming(request: bytes, context: Any) -> AsyncIterator[bytes]:
        raise AssertionError("nobody gets here")
        yield b""

    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Streaming": grpc.unary_stream_rpc_method_handler(streaming),
    }
    generic = grpc.method_handlers_generic_handler("x.Y", handlers)
    key = new_key(file, scopes=Scope)
    async with door_of(
        guard_of(file, audit), lambda grpc_server: grpc_server.add_generic_rpc_handlers((generic,))
    ) as door:
        assert await door.call(method) is grpc.StatusCode.UNAUTHENTICATED
        assert await door.call(method, bearer(key)) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "method",
    ["/nothing", "/", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Check/", "//grpc.health.v1.Health/Check"],
)
async def test_what_only_looks_open_is_not(door: Door, method: str) -> None:
    assert await door.call(method) is grpc.StatusCode.UNAUTHENTICATED


async def test_health_is_open(door: Door) -> None:
    for method in OPEN_METHODS:
        assert await door.call(method) is grpc.StatusCode.OK


async def test_a_handler_knows_who_calls(door: Door, file: Path) -> None:
    keys = {tenant: new_key(file, tenant, (Scope.CHAT, Scope.MEDIA)) for tenant in ("acme", "other")}
    stub = gateway_pb2_grpc.OmniServiceStub(door.channel)

    async def tenants(tenant: str) -> set[str]:
        metadata = [("authorization", bearer(keys[tenant]))]
        put = await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=metadata, timeout=SOON_S)
        chat = stub.Chat(gateway_pb2.ChatRequest(), metadata=metadata, timeout=SOON_S)
        return {put.media_handle, *[answer.token.text async for answer in chat]}

    told = await asyncio.gather(*(tenants(tenant) for tenant in ["acme", "other"] * 20))
    assert told == [{"acme"}, {"other"}] * 20
    with pytest.raises(InternalError):
        current_principal()


async def test_a_refusal_says_the_same_to_everyone(door: Door, file: Path) -> None:
    dead = new_key(file)
    revoke(file, dead.id)
    stub = gateway_pb2_grpc.OmniServiceStub(door.channel)
    for metadata in ((), [("authorization", bearer(dead))], [("authorization", "x")]):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=metadata, timeout=SOON_S)
        error = from_rpc_error(caught.value, "gateway")
        assert (error.message, error.reason) == (REFUSAL, "UNAUTHENTICATED")


async def test_two_headers_are_none_that_is_right(door: Door, file: Path) -> None:
    key = new_key(file, scopes=[Scope.MEDIA])
    stub = gateway_pb2_grpc.OmniServiceStub(door.channel)
    for second in ("Bearer x", bearer(key)):
        metadata = [("authorization", bearer(key)), ("authorization", second)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=metadata, timeout=SOON_S)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stranger_is_refused_before_his_message_is_taken_in(door: Door) -> None:
    """He never sends one, and has his answer; nor does a large one make a difference."""
    sent = asyncio.Event()

    async def never() -> AsyncIterator[bytes]:
        await sent.wait()
        yield b""

    call = door.channel.stream_unary(PUT)(never(), timeout=SOON_S)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    # A client that streams may lose the answer to its own failing write (grpc.aio); none of ours does.
    large = gateway_pb2.PutMediaRequest(image_bytes=b"x" * (20 << 20)).SerializeToString()
    assert await door.call(PUT, None, large) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_bug_in_the_guard_closes_the_door_and_tells_nothing(
    door: Door, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Guard, "admit", fail)
    stub = gateway_pb2_grpc.OmniServiceStub(door.channel)
    with structlog.testing.capture_logs(), pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=[("authorization", bearer(new_key(file)))])
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)
    assert door.servicer.num_calls == 0


async def test_the_callers_name_for_a_request_is_in_the_audit_log(door: Door, audit: Path) -> None:
    stub = gateway_pb2_grpc.OmniServiceStub(door.channel)
    for name in ("r-1", "x" * 500):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.PutMedia(gateway_pb2.PutMediaRequest(), metadata=[("x-request-id", name)], timeout=SOON_S)
    assert [(line["object"], line["request_id"]) for line in lines(audit)] == [(PUT, "r-1"), (PUT, "")]


async def test_reflection_answers_an_admin(door: Door, file: Path) -> None:
    key = new_key(file, scopes=[Scope.ADMIN])
    method = door.channel.stream_stream(
        REFLECTION[0],
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    answers = method(iter([request]), metadata=[("authorization", bearer(key))], timeout=SOON_S)
    names = [service.name async for answer in answers for service in answer.list_services_response.service]
    assert SERVICE in names
