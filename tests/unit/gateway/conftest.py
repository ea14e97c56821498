"""One gateway with its fakes for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest

from tests.redis_lab import RedisServer, running_redis
from tests.unit.gateway.lab import Lab, running_lab

# A loaded machine is slow: time is never what a test is about.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for all tests: every gateway has a secret of its own, so that none finds another's entries."""
    with running_redis() as server:
        yield server


@pytest.fixture
async def lab(redis_server: RedisServer) -> AsyncIterator[Lab]:
    """With nothing in its stores: all media together have a bound, which a few tests' leftovers would reach."""
    with redis_server.client() as client:
        client.flushall()
    async with running_lab(redis_server) as running:
        yield running
