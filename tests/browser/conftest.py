"""One Chromium for all tests, one gateway and one fresh page for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from playwright.async_api import Browser

from tests.browser.browser_lab import Playground, running_browser, running_playground
from tests.redis_lab import RedisServer, running_redis
from tests.unit.gateway.lab import Lab, running_lab


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for all tests: every gateway has a secret of its own, so that none finds another's entries."""
    with running_redis() as server:
        yield server


@pytest.fixture
async def lab(redis_server: RedisServer) -> AsyncIterator[Lab]:
    """With nothing in its stores."""
    with redis_server.client() as client:
        client.flushall()
    async with running_lab(redis_server) as running:
        yield running


@pytest.fixture
async def playground(lab: Lab, browser: Browser) -> AsyncIterator[Playground]:
    async with running_playground(lab, browser) as running:
        await running.open()
        yield running
