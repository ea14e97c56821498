"""Health on a port of its own: what probes ask, and that liveness never waits for a model."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.unit.trichord.echo import NOT_SERVING, SERVING, SOON_S, Served, check
from trichord.health import LIVENESS, HealthServicer
from trichord.health_port import health_port


async def asked(port: int, service: str) -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=SOON_S)).status


async def test_it_tells_what_the_servicer_tells() -> None:
    servicer = HealthServicer(["a.Service"])
    async with health_port(servicer, "127.0.0.1:0") as port:
        assert [await asked(port, name) for name in ("", "a.Service", LIVENESS)] == [NOT_SERVING, NOT_SERVING, SERVING]
        await servicer.set_serving(True)
        assert await asked(port, "") == SERVING
        await servicer.shut_down()
        assert [await asked(port, name) for name in ("", LIVENESS)] == [NOT_SERVING, SERVING]
    with pytest.raises(grpc.aio.AioRpcError):
        await asked(port, "")


async def test_none_is_opened_unless_told() -> None:
    async with health_port(HealthServicer([]), "") as port:
        assert port == 0


async def test_an_address_that_is_taken_is_said() -> None:
    async with health_port(HealthServicer([]), "127.0.0.1:0") as port:
        with pytest.raises(OSError, match=f"Cannot listen on 127.0.0.1:{port}"):
            async with health_port(HealthServicer([]), f"127.0.0.1:{port}"):
                pass


async def test_liveness_is_on_the_data_port_too(echo: Served) -> None:
    assert [(await check(echo, name)).status for name in ("", LIVENESS)] == [NOT_SERVING, SERVING]
