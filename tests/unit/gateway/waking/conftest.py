"""One gateway whose vision encoder sleeps for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.redis_lab import RedisServer
from tests.unit.gateway.waking.lab import SleepyLab, sleepy_lab


@pytest.fixture
async def sleepy(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[SleepyLab]:
    async with sleepy_lab(tmp_path, redis_server, max_held=3, notice_interval_s=0.05) as lab:
        yield lab
