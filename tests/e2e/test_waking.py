"""Encoders that sleep, in a cluster of real processes whose models only wait: woken, scaled, let sleep again.

Most tests say themselves how many replicas there are, as the autoscaler would: over the supervisor's control socket.
One has the autoscaler do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.conftest import free_ports, trichord
from tests.e2e.media import png
from trichord.client import OmniClient, image, user
from trichord.client.retries import RetryPolicy
from trichord.errors import OverloadedError, UnavailableError
from trichord.home import home
from trichord.v1 import decoder_pb2, gateway_pb2

PORTS = 40
NEVER = "modalities: {decoder: {}}\n"
"""Rules for an autoscaler that leaves the encoders alone."""
SOON = """
modalities:
  vision:
    {max_replicas: 2, startup_s: 8.0, idle_s: 3.0, down_window_s: 2.0, step_down_every_s: 0.5, gpus_per_replica: 0.0}
"""
"""Rules for one that lets vision sleep after three idle seconds."""
SOON_S = 120
ONE_TOKEN = decoder_pb2.SamplingParams(max_tokens=1, ignore_eos=True)
RELENTLESS = RetryPolicy(max_attempts=1)


@dataclass(frozen=True)
class SleepyCluster:
    """A cluster whose encoders are scaled."""

    name: str
    port: int

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.AsyncHTTPTransport(uds=str(home() / "run" / self.name / "control.sock"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://supervisor") as client:
            yield client

    async def counts(self) -> dict[str, int]:
        async with self.control() as client:
            return (await client.get("/scale")).json()["vision-encoder"]

    async def scale(self, replicas: int) -> None:
        async with self.control() as client:
            response = await client.post("/scale", json={"service": "vision-encoder", "replicas": replicas})
        assert response.status_code == 200

    async def has(self, **expected: int) -> None:
        """Waits until vision's counts are such."""
        async with asyncio.timeout(SOON_S):
            while True:
                if expected.items() <= (await self.counts()).items():
                    return
                await asyncio.sleep(0.1)

    async def scaled_to(self, replicas: int) -> None:
        await self.scale(replicas)
        await self.has(ready=replicas, starting=0)

    async def sleeps(self) -> None:
        """Waits until no replica of vision is left, and the gateway has read so."""
        async with asyncio.timeout(SOON_S):
            while any("vision-encoder" in name for name in self._processes()):  # noqa: ASYNC110 - a file tells
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    def _processes(self) -> list[str]:
        state = json.loads((home() / "run" / self.name / "state.json").read_text())
        return [process["name"] for process in state["processes"]]

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[OmniClient]:
        async with OmniClient(f"127.0.0.1:{self.port}", retries=RELENTLESS) as client:
            yield client

    async def ask(self, *parts: object, degradation: str = "fail") -> list[gateway_pb2.ChatResponse]:
        async with self.client() as client:
            answer = client.chat([user(*parts)], ONE_TOKEN, timeout_s=SOON_S, degradation=degradation)
            return [event async for event in answer]


@contextlib.contextmanager
def running(name: str, rules: str, folder: Path, *also: str) -> Iterator[SleepyCluster]:
    file, port = folder / "rules.yaml", free_ports(PORTS)
    file.write_text(rules)
    options = ("--preset", "tiny", "--simulated", "--autoscale", "--max-replicas", "2", "--rules", str(file))
    try:
        trichord("up", "--name", name, "--port", str(port), *options, *also)
        yield SleepyCluster(name, port)
    finally:
        trichord("down", "--name", name)


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SleepyCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRICHORD_WAKING_MAX_HELD", "2")
        patch.setenv("TRICHORD_WAKING_NOTICE_INTERVAL_S", "0.5")
        with running("test-waking", NEVER, tmp_path_factory.mktemp("waking")) as cluster:
            yield cluster


@pytest.fixture
async def asleep(module_cluster: SleepyCluster) -> SleepyCluster:
    """Vision has no replica."""
    await module_cluster.scaled_to(0)
    await module_cluster.sleeps()
    return module_cluster


def pid_of(cluster: SleepyCluster, **known: object) -> int:
    """Of the only process of which that is known."""
    status = json.loads(trichord("status", "--name", cluster.name, "--json").stdout)
    (pid,) = [process["pid"] for process in status["processes"] if known.items() <= process.items()]
    return int(pid)


def listed_port(cluster: SleepyCluster) -> int:
    """Of the only replica that the gateway knows."""
    (address,) = (home() / "run" / cluster.name / "targets" / "vision-encoder").read_text().split()
    return int(address.rpartition(":")[2])


def kinds(events: list[gateway_pb2.ChatResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


async def until_told(task: asyncio.Task[object], events: list[gateway_pb2.ChatResponse]) -> None:
    """Waits until a request is told that it waits."""
    async with asyncio.timeout(SOON_S):
        while "waiting" not in kinds(events):
            assert not task.done(), "it is not held"
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def held(cluster: SleepyCluster, seed: int) -> AsyncIterator[tuple[asyncio.Task[None], list[object]]]:
    """A request for a new image, held; its task and its events so far. Cancelled at the end, if it is not done."""
    events: list[gateway_pb2.ChatResponse] = []

    async def ask() -> None:
        async with cluster.client() as client:
            async for event in client.chat([user(image(png(60, 60, seed)), "What?")], ONE_TOKEN, timeout_s=SOON_S):
                events.append(event)

    task = asyncio.create_task(ask())
    try:
        await until_told(task, events)
        yield task, events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_vision_sleeps_at_first_and_text_is_answered(asleep: SleepyCluster) -> None:
    assert await asleep.counts() == {"desired": 0, "ready": 0, "starting": 0}
    assert kinds(await asleep.ask("Hello"))[-1] == "finished"


async def test_a_held_request_answers_when_vision_wakes_and_text_is_answered_meanwhile(asleep: SleepyCluster) -> None:
    async with held(asleep, seed=1) as (task, events):
        await asleep.scale(1)
        assert kinds(await asleep.ask("Hello"))[-1] == "finished"
        assert not task.done()
        await asyncio.wait_for(task, SOON_S)
    (item,) = events[-1].finished.receipt.items
    assert item.wake_ms > 0
    assert kinds(events)[-1] == "finished"
    again = await asleep.ask(image(png(60, 60, seed=101)))
    assert "waiting" not in kinds(again)


async def test_overflow_is_refused_with_a_time_and_who_leaves_makes_room(asleep: SleepyCluster) -> None:
    async with held(asleep, seed=2):
        async with held(asleep, seed=3):
            with pytest.raises(OverloadedError) as refused:
                await asleep.ask(image(png(60, 60, seed=4)))
            assert 1 <= (refused.value.retry_after_s or 0) <= 60
            assert refused.value.field == "messages[0].parts[0].image_bytes"
        async with held(asleep, seed=5) as (_, events):
            assert events[-1].waiting.position == 1


async def test_who_left_while_held_is_not_encoded_later(asleep: SleepyCluster) -> None:
    async with held(asleep, seed=6), held(asleep, seed=7):
        pass
    await asleep.scaled_to(1)
    events = await asleep.ask(image(png(60, 60, seed=7)))
    assert events[-1].finished.usage.cache_hits == 0, "nobody encoded it"


async def test_calls_end_on_a_replica_that_goes_and_the_other_takes_the_next(asleep: SleepyCluster) -> None:
    await asleep.scaled_to(2)
    await asyncio.sleep(0.5)
    pictures = [image(png(1300, 1300, seed)) for seed in range(10, 16)]
    asked = [asyncio.create_task(asleep.ask(picture)) for picture in pictures]
    await asyncio.sleep(0.5)
    await asleep.scale(1)
    answers = await asyncio.gather(*asked)
    assert all(kinds(events)[-1] == "finished" for events in answers)
    await asleep.has(ready=1, desired=1)


async def test_a_replica_that_dies_is_no_sleeper_and_comes_back(asleep: SleepyCluster) -> None:
    await asleep.scaled_to(1)
    assert kinds(await asleep.ask(image(png(60, 60, seed=20))))[-1] == "finished"
    os.kill(pid_of(asleep, port=listed_port(asleep)), signal.SIGKILL)
    await asleep.has(desired=1, ready=0, starting=1)
    events: list[gateway_pb2.ChatResponse] = []
    with contextlib.suppress(UnavailableError):  # unless a retry finds it restarted
        events = await asleep.ask(image(png(60, 60, seed=21)))
    assert "waiting" not in kinds(events), "it is wanted, and down: nobody is held for that"
    assert kinds(await asleep.ask(image(png(60, 60, seed=22)), degradation="wait"))[-1] == "finished"
    assert (await asleep.counts())["ready"] == 1


async def test_the_autoscaler_wakes_vision_by_a_report_alone_and_lets_it_sleep_again(tmp_path: Path) -> None:
    """The notice is lost: whoever would hear it is dead when it is sent, and reads of it once it is back."""
    with running("test-waking-alone", SOON, tmp_path) as cluster:
        os.kill(pid_of(cluster, name="autoscaler"), signal.SIGKILL)
        async with held(cluster, seed=1) as (task, events):
            assert await cluster.counts() == {"desired": 0, "ready": 0, "starting": 0}
            await asyncio.wait_for(task, SOON_S)
        assert kinds(events)[-1] == "finished"
        await cluster.has(desired=0, ready=0, starting=0)
        await cluster.sleeps()
        async with held(cluster, seed=2) as (task, _):
            await asyncio.wait_for(task, SOON_S)
