"""Health over real calls: it follows the probe, for the process and for each service, for every watcher."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.unit.trichord.echo import (
    NOT_SERVING,
    SERVICE,
    SERVING,
    Served,
    check,
    watch,
)
from trichord import server

SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Probe:
    """Holds when told to."""

    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer

    async def __call__(self) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PROBE_INTERVAL_S", 0.01)


@pytest.mark.parametrize("service", ["", SERVICE])
@pytest.mark.parametrize("no", [False, ConnectionError("Triton is not there.")])
@pytest.mark.usefixtures("quick_probes")
async def test_health_follows_the_probe(echo: Served, service: str, no: bool | Exception) -> None:
    """Both ways, as Check tells and as Watch tells."""
    assert (await check(echo, service)).status == NOT_SERVING
    statuses = watch(echo, service)
    assert (await statuses.read()).status == NOT_SERVING
    probe = Probe(no)
    watching = asyncio.create_task(echo.running.watch(probe))
    for answer, status in ((True, SERVING), (no, NOT_SERVING), (True, SERVING)):
        probe.answer = answer
        assert (await statuses.read()).status == status
        assert (await check(echo, service)).status == status
    watching.cancel()
    statuses.cancel()


async def test_a_watcher_that_leaves_takes_nobody_along(echo: Served) -> None:
    """The library's servicer forgets all of a service's watchers when one leaves."""
    staying, leaving = watch(echo), watch(echo)
    assert [(await each.read()).status for each in (staying, leaving)] == [NOT_SERVING] * 2
    leaving.cancel()
    await leaving.code()
    await echo.running.health.set_serving(True)
    assert (await staying.read()).status == SERVING
    staying.cancel()


async def test_a_watcher_hears_of_changes_only(echo: Served) -> None:
    statuses = watch(echo)
    assert (await statuses.read()).status == NOT_SERVING
    for serving in (False, False, True, True):
        await echo.running.health.set_serving(serving)
    assert (await statuses.read()).status == SERVING
    await echo.running.health.set_serving(False)
    assert (await statuses.read()).status == NOT_SERVING
    statuses.cancel()


async def test_the_health_of_an_unknown_service(echo: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(echo, "other.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    statuses = watch(echo, "other.Service")
    assert (await statuses.read()).status == SERVICE_UNKNOWN
    await echo.running.health.set_serving(True)
    statuses.cancel()
