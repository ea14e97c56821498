"""All of a gateway's jobs at a real broker, with a worker that answers everything at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition

from gateway.jobs.assembly import OpenedJobs, open_jobs
from tests.broker_lab import Broker, running_broker
from tests.unit.gateway.jobs.jobs_lab import LIMITS, TENANT, Handles, each, job_items, result
from trichord.jobs.message import body_as, decode
from trichord.jobs.settings import JobsSettings
from trichord.v1 import jobs_pb2

TOPIC = "trichord.requests.normal"


@pytest.fixture
def broker() -> Iterator[Broker]:
    with running_broker() as running:
        yield running


@contextlib.asynccontextmanager
async def running(folder: Path, broker: Broker) -> AsyncIterator[OpenedJobs]:
    opened = open_jobs(JobsSettings(store=str(folder), kafka=broker.address, partitions=2), Handles(), LIMITS)
    opened.start()
    try:
        yield opened
    finally:
        await opened.close()


async def queued(broker: Broker, job_id: str, count: int) -> list[jobs_pb2.QueuedItem]:
    """The first so many messages of a job."""

    def read() -> list[jobs_pb2.QueuedItem]:
        found: list[jobs_pb2.QueuedItem] = []
        with KafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest") as consumer:
            consumer.assign([TopicPartition(TOPIC, partition) for partition in range(2)])
            while len(found) < count:
                for records in consumer.poll(200).values():
                    bodies = (body_as(decode(one.value, one.headers), jobs_pb2.QueuedItem) for one in records)
                    found += [body for body in bodies if body.job_id == job_id]
        return found

    return await asyncio.wait_for(asyncio.to_thread(read), 60)


async def test_whoever_watches_leaves_after_the_notice(tmp_path: Path) -> None:
    limits = LIMITS.model_copy(update={"drain_notice_s": 0.05})
    opened = open_jobs(JobsSettings(store=str(tmp_path), kafka="127.0.0.1:1"), Handles(), limits)
    leaving = asyncio.create_task(opened.drain())
    await asyncio.sleep(0)
    assert not opened.jobs.leaving.is_set()
    await leaving
    assert opened.jobs.leaving.is_set()


async def test_a_job_goes_through_the_queue_and_outlives_a_gateway(tmp_path: Path, broker: Broker) -> None:
    async with running(tmp_path, broker) as first:
        job = await first.jobs.submit(TENANT, jobs_pb2.JobSpec(), each(job_items(70)))
        found = await queued(broker, job.id, 70)
        assert sorted(one.index for one in found) == list(range(70))
        assert {one.item.request.messages[0].parts[0].text for one in found} == {f"hi {index}" for index in range(70)}
    async with running(tmp_path, broker) as second:
        seen = second.jobs.watch(TENANT, job.id)
        assert (await anext(seen)).state == jobs_pb2.JOB_STATE_QUEUED
        for one in found:
            await second.jobs.records.put_result(one.tenant, one.job_id, result(one.index))
        last = [now async for now in seen][-1]
        assert (last.state, last.counts.completed) == (jobs_pb2.JOB_STATE_COMPLETED, 70)
