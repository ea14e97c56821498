from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest

from tests.unit.trichord_client.both import KINDS, Client
from tests.unit.trichord_client.scripted import ScriptedGateway
from trichord import server
from trichord.client import RetryPolicy
from trichord.settings import ServiceSettings

QUICK = RetryPolicy(jitter_s=0.001)
"""Tries again at once."""


class Gateway(NamedTuple):
    """A scripted gateway, and where it listens."""

    script: ScriptedGateway
    target: str


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    script = ScriptedGateway()
    running = await server.start(script.register, ServiceSettings())
    yield Gateway(script, f"127.0.0.1:{running.port}")
    await running.server.stop(0)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Client]]:
    """Makes clients of either kind."""
    clients: list[Client] = []

    def make(target: str, **options: Any) -> Client:
        clients.append(request.param(target, **{"retries": QUICK, **options}))
        return clients[-1]

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(connect: Callable[..., Client], gateway: Gateway) -> Client:
    """A client of the scripted gateway."""
    return connect(gateway.target)
