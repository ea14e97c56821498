"""Fixtures of the autoscaler's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.redis_lab import RedisServer, running_redis
from tests.unit.autoscaler.kube_lab import KubeLab, running_kube


@pytest.fixture
async def kube() -> AsyncIterator[KubeLab]:
    async with running_kube() as lab:
        yield lab


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server
