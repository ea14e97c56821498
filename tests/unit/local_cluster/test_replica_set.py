"""Replicas of real processes, scaled directly and over the control socket."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from local_cluster import control, replica_set
from local_cluster.process import Process
from local_cluster.replica_set import ReplicaSet
from local_cluster.supervisor import Supervisor
from trichord.errors import ClusterError

ProcessFactory = Callable[..., Process]
Slots = list[list[Process]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_set, "NOTICE_S", 0.05)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for is another task's state
            await asyncio.sleep(0.02)


class SetLab:
    """A set of at most three, its supervisor, and what the gateway is told of it."""

    def __init__(self, slots: Slots, folder: Path) -> None:
        self.slots, self._target = slots, folder / "targets"
        self.supervisor = Supervisor([], folder / "logs", lambda: None)
        self.set = ReplicaSet("vision-encoder", slots, self.supervisor, self._target)

    @property
    def listed(self) -> list[str]:
        return self._target.read_text().split()

    def address(self, number: int) -> str:
        return f"127.0.0.1:{self.slots[number][-1].port}"

    async def has(self, *, desired: int, ready: int, starting: int = 0) -> None:
        expected = {"desired": desired, "ready": ready, "starting": starting}
        await until(lambda: self.set.counts() == expected)

    async def is_bare(self) -> None:
        """Nothing is left."""
        await until(lambda: not self.supervisor.states and not self.listed)


@asynccontextmanager
async def set_lab(slots: Slots, folder: Path) -> AsyncIterator[SetLab]:
    (folder / "logs").mkdir(exist_ok=True)
    lab = SetLab(slots, folder)
    try:
        yield lab
    finally:
        await lab.set.close()
        await lab.supervisor.stop()


@pytest.fixture
async def lab(fake: ProcessFactory, tmp_path: Path) -> AsyncIterator[SetLab]:
    slots = [[fake("serve", name=f"triton-{n}"), fake("serve", name=f"front-{n}", tier=1)] for n in range(3)]
    async with set_lab(slots, tmp_path) as running:
        yield running


async def test_from_none_to_two_and_back(lab: SetLab) -> None:
    assert lab.listed == []
    assert lab.set.counts() == {"desired": 0, "ready": 0, "starting": 0}
    lab.set.scale(2)
    assert lab.set.counts() == {"desired": 2, "ready": 0, "starting": 2}
    await lab.has(desired=2, ready=2)
    assert lab.listed == [lab.address(0), lab.address(1)]
    assert set(lab.supervisor.states) == {"triton-0", "triton-1", "front-0", "front-1"}
    lab.set.scale(1)
    assert lab.listed == [lab.address(0)], "off the list at once, and only then stopped"
    await until(lambda: len(lab.supervisor.states) == 2)
    lab.set.scale(0)
    await lab.is_bare()


async def test_more_than_there_is_room_for_is_as_many_as_there_is_room_for(lab: SetLab) -> None:
    lab.set.scale(9)
    assert lab.set.counts()["desired"] == 3
    await lab.has(desired=3, ready=3)


async def test_a_place_that_is_being_left_is_taken_again_once_it_is_free(lab: SetLab) -> None:
    lab.set.scale(3)
    await lab.has(desired=3, ready=3)
    lab.set.scale(0)
    lab.set.scale(2)
    assert lab.set.counts()["ready"] == 0
    await lab.has(desired=2, ready=2)


async def test_a_loading_replica_is_never_scaled_away(fake: ProcessFactory, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    async with set_lab([[fake("slow", str(marker))]], tmp_path) as lab:
        lab.set.scale(1)
        await until(lambda: bool(lab.supervisor.states))
        lab.set.scale(0)
        await asyncio.sleep(1.0)
        assert lab.set.counts() == {"desired": 0, "ready": 0, "starting": 1}
        assert [state.phase for state in lab.supervisor.states.values()] == ["starting"]
        assert lab.listed == []
        marker.touch()
        await lab.is_bare()


async def test_a_dead_replica_is_mended_and_stays_listed(lab: SetLab) -> None:
    lab.set.scale(1)
    await lab.has(desired=1, ready=1)
    identity = lab.supervisor.states["front-0"].id
    assert identity
    os.kill(identity.pid, signal.SIGKILL)
    await lab.has(desired=1, ready=0, starting=1)
    assert lab.listed == [lab.address(0)], "it is wanted, and down: that is not sleep"
    await lab.has(desired=1, ready=1)


async def test_one_that_does_not_start_is_tried_again_and_then_given_up(
    fake: ProcessFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_cluster.restarts.FIRST_DELAY_S", 0.0)
    async with set_lab([[fake("broken")]], tmp_path) as lab:
        lab.set.scale(1)
        await lab.has(desired=1, ready=0, starting=0)
        assert (tmp_path / "logs" / "broken.log").read_text().count("this is broken") == 4
        assert lab.supervisor.states == {}
        lab.set.scale(1)
        await lab.has(desired=1, ready=0, starting=1)


async def test_a_cluster_that_stops_takes_a_loading_replica_with_it(fake: ProcessFactory, tmp_path: Path) -> None:
    async with set_lab([[fake("deaf")]], tmp_path) as lab:
        lab.set.scale(1)
        await until(lambda: any(state.id for state in lab.supervisor.states.values()))
        identities = [state.id for state in lab.supervisor.states.values()]
    assert identities
    assert not any(identity and identity.alive for identity in identities)


@asynccontextmanager
async def asking(lab: SetLab, path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with (
        control.listening({"vision-encoder": lab.set}, path),
        httpx2.AsyncClient(transport=transport, base_url="http://supervisor") as client,
    ):
        yield client


async def test_the_socket_tells_and_scales(lab: SetLab, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with asking(lab, path) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (await client.get("/scale")).json() == {"vision-encoder": {"desired": 0, "ready": 0, "starting": 0}}
        scaled = await client.post("/scale", json={"service": "vision-encoder", "replicas": 1})
        assert (scaled.status_code, scaled.json()) == (200, {"desired": 1, "ready": 0, "starting": 1})
        await lab.has(desired=1, ready=1)
        assert (await client.get("/scale")).json()["vision-encoder"]["ready"] == 1
    assert not path.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"[1]", 400, id="no object"),
        pytest.param(b'{"service": "vision-encoder"}', 400, id="no number"),
        pytest.param(b'{"service": "vision-encoder", "replicas": -1}', 400, id="negative"),
        pytest.param(b'{"service": "vision-encoder", "replicas": true}', 400, id="no integer"),
        pytest.param(b'{"service": "vision-encoder", "replicas": 1, "x": 1}', 400, id="an unknown key"),
        pytest.param(b'{"service": "gateway", "replicas": 1}', 404, id="an unknown service"),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(lab: SetLab, tmp_path: Path, body: bytes, status: int) -> None:
    async with asking(lab, tmp_path / "control.sock") as client:
        response = await client.post("/scale", content=body)
    assert response.status_code == status
    assert response.json()["error"]
    assert lab.set.counts()["desired"] == 0


async def test_a_socket_that_cannot_be_is_told(lab: SetLab, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with pytest.raises(ClusterError, match="short path"):
        async with control.listening({}, folder / "control.sock"):
            pass
