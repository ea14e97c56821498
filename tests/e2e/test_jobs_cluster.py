"""A job through a whole cluster, whose parts are killed one after another; and a batch of the official OpenAI client.

All processes are real: the queue, the worker, the gateway, the stores, and those that stand for the models. The
supervisor starts again what dies. The queue and the stores come back empty, as they keep everything in memory.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

from local_cluster.jobs import queue_address
from local_cluster.state import ClusterState, ProcessState, RunDirectory
from local_cluster.topology import HTTP_PORT_OFFSET
from tests.broker_lab import everything_in
from tests.conftest import free_ports, trichord
from tests.e2e.media import png, wav
from trichord.client import OmniClient, audio, image, user
from trichord.errors import UnavailableError
from trichord.home import home
from trichord.jobs.job_records import JobRecords
from trichord.jobs.message import Message
from trichord.jobs.objects import open_store
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

NAME = "test-jobs"
NUM_ITEMS = 160
NO_IMAGE = b"\x89PNG and no image"
SOON_S = 60.0
STORES = ("cache-store", "state-store")


@dataclass(frozen=True)
class JobsCluster:
    """A cluster that takes jobs, and who ends its processes."""

    port: int
    folder: Path

    @property
    def settings(self) -> JobsSettings:
        return JobsSettings(store=str(self.folder / "objects"), kafka=queue_address(self.port))

    @property
    def topics(self) -> Topics:
        return Topics(self.settings)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[OmniClient]:
        async with OmniClient(f"127.0.0.1:{self.port}") as client:
            yield client

    def process(self, name: str) -> ProcessState:
        state = RunDirectory(home(), NAME).read()
        assert isinstance(state, ClusterState)
        (process,) = [process for process in state.processes if process.name == name]
        return process

    def signal(self, name: str, number: int) -> None:
        process = self.process(name)
        assert process.id, f"{name} runs"
        os.kill(process.id.pid, number)

    async def kill(self, name: str) -> None:
        """As a machine that fails would; returns when there is another, and it is ready."""
        restarts = self.process(name).restarts
        self.signal(name, signal.SIGKILL)
        async with asyncio.timeout(SOON_S):
            while (now := self.process(name)).restarts == restarts or now.phase != "ready":  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def usage_events(self) -> list[jobs_pb2.UsageEvent]:
        bodies = [message.body for message in everything_in(self.settings.kafka, self.topics.usage)]
        assert all(isinstance(body, jobs_pb2.UsageEvent) for body in bodies)
        return bodies  # type: ignore[return-value]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsCluster]:
    folder, port = tmp_path_factory.mktemp("jobs"), free_ports()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRICHORD_JOBS_STORE", str(folder / "objects"))
        patch.setenv("TRICHORD_USAGE_SPOOL", str(folder / "usage"))
        patch.setenv("TRICHORD_JOBS_REDELIVERY_S", "10")
        patch.setenv("TRICHORD_JOBS_SESSION_TIMEOUT_S", "2")
        try:
            trichord("up", "--name", NAME, "--port", str(port), "--preset", "tiny", "--simulated", "--jobs")
            yield JobsCluster(port, folder)
        finally:
            trichord("down", "--name", NAME)


def mixed(number: int) -> list[jobs_pb2.JobItem]:
    """Text, images and sounds, some too large for a message; every eighth holds bytes that are no image."""
    extras = [[], [image(NO_IMAGE)], [audio(wav(1.0))], [image(png(60, 60)), audio(wav(2.5))]] * 2
    extras[5] = [image(png(60, 60))]
    sampling = decoder_pb2.SamplingParams(max_tokens=8, ignore_eos=True)
    items = []
    for index in range(number):
        message = user(f"number {index}", *extras[index % 8])
        request = gateway_pb2.ChatRequest(messages=[message], sampling=sampling)
        items.append(jobs_pb2.JobItem(custom_id=f"my-{index}", request=request))
    return items


@dataclass
class Watched:
    """One job, looked at again and again."""

    cluster: JobsCluster
    client: OmniClient
    id: str
    results: dict[int, bytes] = field(default_factory=dict)
    """As they were in the store when they were first seen there."""
    num_ended: int = 0

    async def look(self) -> jobs_pb2.Job | None:
        """What the gateway says, which must agree with the store; None if there is no gateway."""
        try:
            job = await self.client.jobs.get(self.id)
        except UnavailableError:
            job = None
        kept = self._kept()
        assert {index: kept[index] for index in self.results} == self.results, "a result is written once"
        self.results = kept
        if job:
            self._agrees(job.counts)
        return job

    async def has(self, num_ended: int) -> None:
        """Waits until so many items have ended, as the gateway knows."""
        async with asyncio.timeout(SOON_S):
            while self.num_ended < num_ended:
                await self.look()
                await asyncio.sleep(0.1)

    async def more(self, number: int) -> None:
        """Waits until so many more items have ended."""
        await self.has(self.num_ended + number)

    def _agrees(self, counts: jobs_pb2.JobCounts) -> None:
        states = [jobs_pb2.ItemResult.FromString(result).state for result in self.results.values()]
        assert (counts.total, counts.cancelled, counts.expired) == (NUM_ITEMS, 0, 0)
        assert counts.completed <= states.count(jobs_pb2.ITEM_STATE_COMPLETED)
        assert counts.failed <= states.count(jobs_pb2.ITEM_STATE_FAILED)
        assert counts.completed + counts.failed >= self.num_ended, "nobody takes an end back"
        self.num_ended = counts.completed + counts.failed

    def _kept(self) -> dict[int, bytes]:
        folder = self.cluster.folder / "objects" / "jobs"
        return {int(file.name): file.read_bytes() for file in folder.glob(f"*/{self.id}/results/{6 * '[0-9]'}")}


async def send_twice(cluster: JobsCluster, watched: Watched) -> None:
    """Some items that have ended, and some that have not, come twice more each."""
    settings = cluster.settings
    (spec,) = (cluster.folder / "objects" / "jobs").glob(f"*/{watched.id}/spec")
    record = jobs_pb2.JobRecord.FromString(spec.read_bytes())
    pending = [index for index in range(NUM_ITEMS) if index not in watched.results]
    producer = QueueProducer(settings)
    indices = sorted([*list(watched.results)[:3], *pending[:2], *pending[-2:]])
    async for index, item in JobRecords(open_store(settings.store), settings).items(record, indices):
        queued = jobs_pb2.QueuedItem(
            tenant=record.tenant, job_id=watched.id, index=index, item=item, deadline=record.job.spec.deadline
        )
        for _ in range(2):
            await producer.send(cluster.topics.normal, "by hand", Message(queued))
    await producer.close()


async def chat(cluster: JobsCluster, request_id: str) -> gateway_pb2.Usage:
    """What a live request took."""
    sampling = decoder_pb2.SamplingParams(max_tokens=4, ignore_eos=True)
    async with cluster.client() as client:
        *_, last = [event async for event in client.chat([user(request_id)], sampling, request_id=request_id)]
    return last.finished.usage


def exact(usage: gateway_pb2.Usage) -> bytes:
    return usage.SerializeToString(deterministic=True)


async def test_whatever_is_killed_every_item_ends_once_and_usage_is_exact(cluster: JobsCluster) -> None:
    live: dict[str, gateway_pb2.Usage] = {}
    async with cluster.client() as client:
        job = Watched(cluster, client, (await client.jobs.submit(mixed(NUM_ITEMS))).id)
        await job.more(10)
        await send_twice(cluster, job)
        await job.more(10)
        await cluster.kill("job-worker")
        await job.more(10)
        await asyncio.gather(*map(cluster.kill, STORES))
        await job.more(10)

        cluster.signal("broker", signal.SIGSTOP)
        live["before"] = await chat(cluster, "before")
        await is_on_disk(cluster)
        await cluster.kill("gateway")
        live["after"] = await chat(cluster, "after")
        cluster.signal("broker", signal.SIGCONT)
        await job.more(10)
        await live_is_told(cluster, live)

        cluster.signal("job-worker", signal.SIGSTOP)  # nobody tells anything between what is read and the loss of it
        events = cluster.usage_events()
        await cluster.kill("broker")
        assert job.num_ended < NUM_ITEMS
        cluster.signal("job-worker", signal.SIGCONT)
        await job.has(NUM_ITEMS)
        *_, ended = [told async for told in client.jobs.watch(job.id)]
        results = [result async for result in client.jobs.results(job.id)]

    assert ended.state == jobs_pb2.JOB_STATE_COMPLETED
    assert [(one.index, one.custom_id) for one in results] == [(i, f"my-{i}") for i in range(NUM_ITEMS)]
    assert {one.index: one.SerializeToString() for one in results} == job.results
    answered = {one.request_id: one for one in results if one.state == jobs_pb2.ITEM_STATE_COMPLETED}
    failed = {one.index: one.error.code for one in results if one.state == jobs_pb2.ITEM_STATE_FAILED}
    assert failed == dict.fromkeys(range(1, NUM_ITEMS, 8), "INVALID_ARGUMENT")
    assert (ended.counts.completed, ended.counts.failed) == (len(answered), len(failed))
    assert len(answered) + len(failed) == NUM_ITEMS
    assert ended.usage.completion_tokens == 8 * len(answered)

    told = await told_of(cluster, events, len(answered) + len(live))
    of_job = {event.request_id: exact(event.usage) for event in told.values() if event.job_id}
    assert of_job == {request_id: exact(one.finished.usage) for request_id, one in answered.items()}
    others = [(event.request_id, exact(event.usage)) for event in told.values() if not event.job_id]
    assert sorted(others) == sorted((request_id, exact(usage)) for request_id, usage in live.items())


async def is_on_disk(cluster: JobsCluster) -> None:
    """Waits, some milliseconds at most, for the usage event of the only live request: a crash before that costs it."""
    async with asyncio.timeout(SOON_S):
        while not any(file.stat().st_size for file in (cluster.folder / "usage").glob("*.log")):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def live_is_told(cluster: JobsCluster, live: Collection[str]) -> None:
    """Waits until these live requests have usage events."""
    async with asyncio.timeout(SOON_S):
        while not set(live) <= {event.request_id for event in cluster.usage_events()}:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def told_of(
    cluster: JobsCluster, before: Sequence[jobs_pb2.UsageEvent], number: int
) -> dict[str, jobs_pb2.UsageEvent]:
    """The usage events by their ids, ``before`` among them, once there are so many: results are kept before that."""
    async with asyncio.timeout(SOON_S):
        while True:
            events = [*before, *cluster.usage_events()]
            told = {event.id: event for event in events}
            assert all(told[event.id] == event for event in events), "what is told twice is the same"
            if len(told) >= number:
                return told
            await asyncio.sleep(0.2)


def lines() -> list[dict[str, object]]:
    """Of a batch: text, a sound, an image, and what is no image."""
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(1.0)).decode(), "format": "wav"}}
    contents: list[object] = ["Hello", [{"type": "text", "text": "What?"}, sound]]
    contents += [[{"type": "image_url", "image_url": {"url": _url(data)}}] for data in (png(60, 60), NO_IMAGE)]
    return [
        {
            "custom_id": f"line-{index}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "tiny-simulated",
                "messages": [{"role": "user", "content": content}],
                "max_completion_tokens": 4,
            },
        }
        for index, content in enumerate(contents)
    ]


def _url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


async def test_the_official_client_s_batch_round_trip(cluster: JobsCluster) -> None:
    url = f"http://127.0.0.1:{cluster.port + HTTP_PORT_OFFSET}/v1"
    content = "\n".join(json.dumps(line) for line in lines()).encode()
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        file = await client.files.create(file=("lines.jsonl", content), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        async with asyncio.timeout(SOON_S):
            while batch.status not in ("completed", "failed"):
                await asyncio.sleep(0.2)
                batch = await client.batches.retrieve(batch.id)
        assert batch.status == "completed", batch.errors
        assert batch.request_counts
        assert (batch.request_counts.completed, batch.request_counts.failed) == (3, 1)
        output, refused = [
            [json.loads(line) for line in (await client.files.content(id_ or "")).text.splitlines()]
            for id_ in (batch.output_file_id, batch.error_file_id)
        ]
    assert [line["custom_id"] for line in output] == ["line-0", "line-1", "line-2"]
    answers = [line["response"]["body"] for line in output]
    assert {answer["model"] for answer in answers} == {"tiny-simulated"}
    assert all(answer["choices"][0]["message"]["content"] for answer in answers)
    assert batch.usage
    assert batch.usage.output_tokens == sum(answer["usage"]["completion_tokens"] for answer in answers)
    assert [(line["custom_id"], line["response"]["status_code"]) for line in refused] == [("line-3", 400)]
    assert refused[0]["response"]["body"]["error"]["type"] == "invalid_request_error"
