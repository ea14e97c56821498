"""What failed calls tell retrying clients, and that gRPC's own clients obey it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trichord.echo import SOON_S, Served, said
from trichord import pushback
from trichord.errors import OverloadedError, QuotaError, RequestError, TrichordError, UnavailableError
from trichord.v1 import gateway_pb2, gateway_pb2_grpc

LONG_S = "600s"
"""A backoff of gRPC's own that no test outlives: what comes sooner was told by the server."""


@given(st.floats(0, 86_400))
def test_what_is_told_is_read(retry_after_s: float) -> None:
    read_s = pushback.read_s(pushback.trailers(OverloadedError("Full.", retry_after_s=retry_after_s)))
    assert read_s is not None
    assert 0 <= read_s - retry_after_s + 1e-9 <= 0.001 + 1e-6


@pytest.mark.parametrize("error", [UnavailableError("Gone."), OverloadedError("Full."), QuotaError("Spent.")])
def test_what_must_not_be_retried_is_told(error: TrichordError) -> None:
    assert pushback.trailers(error) == (("grpc-retry-pushback-ms", "-1"),)


def test_nothing_is_told_of_what_nobody_retries() -> None:
    assert pushback.trailers(RequestError("Wrong.")) == ()
    assert pushback.read_s([("other", "1")]) is None


@given(st.text() | st.binary())
def test_what_cannot_be_read_means_never(value: str | bytes) -> None:
    read_s = pushback.read_s([("grpc-retry-pushback-ms", value)])
    assert read_s == -1 or read_s == int(value) / 1000


@contextmanager
def channel(echo: Served, initial_backoff: str) -> Iterator[Any]:
    """A client that retries as gRPC does by itself."""
    policy = {
        "maxAttempts": 4,
        "initialBackoff": initial_backoff,
        "maxBackoff": initial_backoff,
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    target = f"127.0.0.1:{echo.running.port}"
    yield grpc.aio.insecure_channel(target, options=[("grpc.service_config", config)])


async def attempts_of(echo: Served, error: TrichordError, initial_backoff: str, num_failures: int) -> int:
    """How many attempts of gRPC's own client arrive before it succeeds or gives up."""
    arrived = 0

    async def answer(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
        nonlocal arrived
        arrived += 1
        if arrived <= num_failures:
            raise error
        return gateway_pb2.PutMediaResponse()

    echo.echo.answer = answer
    with channel(echo, initial_backoff) as opened:
        async with opened:
            call = gateway_pb2_grpc.OmniServiceStub(opened).PutMedia(said("x"), timeout=SOON_S)
            assert await call.code() in (grpc.StatusCode.OK, error.code)
    return arrived


@pytest.mark.parametrize("kind", [UnavailableError, OverloadedError])
async def test_grpcs_own_client_comes_back_when_told(echo: Served, kind: type[TrichordError]) -> None:
    assert await attempts_of(echo, kind("Wait.", retry_after_s=0.01), LONG_S, num_failures=2) == 3


@pytest.mark.parametrize("kind", [UnavailableError, OverloadedError])
async def test_grpcs_own_client_stays_away_when_told(echo: Served, kind: type[TrichordError]) -> None:
    assert await attempts_of(echo, kind("Never."), "0.001s", num_failures=2) == 1


async def test_a_stream_is_retried_before_its_first_message(echo: Served) -> None:
    arrived = 0

    async def stream(request: gateway_pb2.ChatRequest) -> AsyncIterator[gateway_pb2.ChatResponse]:
        nonlocal arrived
        arrived += 1
        if arrived == 1:
            raise OverloadedError("Wait.", retry_after_s=0.01)
        yield gateway_pb2.ChatResponse()

    echo.echo.stream = stream
    with channel(echo, LONG_S) as opened:
        async with opened:
            call = gateway_pb2_grpc.OmniServiceStub(opened).Chat(gateway_pb2.ChatRequest(), timeout=SOON_S)
            events = [event async for event in call]
    assert (arrived, len(events)) == (2, 1)


async def test_what_a_full_server_refuses_is_told_when_to_come(echo: Served) -> None:
    async def refuse(request: gateway_pb2.PutMediaRequest) -> gateway_pb2.PutMediaResponse:
        raise OverloadedError("Full.", field="media", retry_after_s=1.5)

    echo.echo.answer = refuse
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.stub.PutMedia(said("x"), timeout=SOON_S)
    trailers = dict(caught.value.trailing_metadata())
    assert trailers["grpc-retry-pushback-ms"] == "1500"
    assert "grpc-status-details-bin" in trailers
