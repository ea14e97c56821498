"""A worker whose gateway and records are real; only the queue is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from job_worker.caller import GatewayCaller
from job_worker.post import Post
from job_worker.worker import Worker
from tests.gateway_lab import StubGateway, running_gateway
from tests.unit.job_worker.worker_lab import JOBS, TOPICS, Bench, FakeProducer, item, keep, settings_for
from trichord.jobs.job_records import JobRecords
from trichord.jobs.objects import open_store
from trichord.tls import TlsSettings


@pytest.fixture
async def gateway() -> AsyncIterator[StubGateway]:
    async with running_gateway() as stub:
        yield stub


@pytest.fixture
def records(tmp_path: Path) -> JobRecords:
    return JobRecords(open_store(str(tmp_path / "store")), JOBS)


@pytest.fixture
async def bench(gateway: StubGateway, records: JobRecords) -> AsyncIterator[Bench]:
    settings, queue = settings_for(gateway.target, max_attempts=3), FakeProducer()
    caller = GatewayCaller(settings, TlsSettings())
    one, other = (Worker(settings, records, caller, Post(queue, TOPICS)) for _ in range(2))  # type: ignore[arg-type]
    yield Bench(one, records, queue, gateway, await keep(records, [item(0), item(1)]), other)
    await caller.close()
