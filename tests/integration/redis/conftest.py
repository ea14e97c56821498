"""Real servers: the embedded Valkey always, Debian's Redis where it is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_lab import REDIS, VALKEY, RedisServer, running_redis

PROGRAMS = [
    pytest.param(VALKEY, id="valkey"),
    pytest.param(REDIS, id="redis", marks=pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")),
]


@pytest.fixture(scope="session", params=PROGRAMS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """For tests that leave it running; what they write in it, they write under a secret or name of their own."""
    with running_redis(request.param) as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """For a test to ill-treat."""
    with running_redis() as running:
        yield running
