"""The blocking client where a loop already runs: notebooks, and handlers of asynchronous frameworks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from trichord.client import SyncOmniClient, user
from trichord.v1 import gateway_pb2, gateway_pb2_grpc


class Blocking(gateway_pb2_grpc.OmniServiceServicer):
    """A gateway on threads of its own."""

    def Chat(self, request: gateway_pb2.ChatRequest, context: Any) -> Iterator[gateway_pb2.ChatResponse]:
        yield gateway_pb2.ChatResponse(token=gateway_pb2.ChatToken(text="hello"))
        yield gateway_pb2.ChatResponse(finished=gateway_pb2.ChatFinished())

    def GetModel(self, request: Any, context: Any) -> gateway_pb2.OmniServiceGetModelResponse:
        return gateway_pb2.OmniServiceGetModelResponse(model="tiny")


@pytest.fixture
def target() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    gateway_pb2_grpc.add_OmniServiceServicer_to_server(Blocking(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


async def test_it_works_inside_of_a_running_loop(target: str) -> None:
    assert asyncio.get_running_loop().is_running()
    with SyncOmniClient(target) as client:
        assert client.model().model == "tiny"
        assert client.answer([user("hi")]).text == "hello"
