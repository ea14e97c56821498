"""One Chromium for all tests, one gateway and one fresh page for each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.browser.browser_lab import Playground, running_browser, running_playground
from tests.unit.gateway.lab import Lab, running_lab


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as running:
        yield running


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with running_lab() as running:
        yield running


@pytest.fixture
async def playground(lab: Lab, browser: Browser) -> AsyncIterator[Playground]:
    async with running_playground(lab, browser) as running:
        await running.open()
        yield running
