"""The supervisor over real processes: start, early end, hang, restart, stop."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import structlog

from local_cluster import shm
from local_cluster.process import Process
from local_cluster.readiness import is_ready
from local_cluster.supervisor import Supervisor
from trichord.errors import ClusterError
from trichord.triton.client import TritonClient

ProcessFactory = Callable[..., Process]
STOP_BOUND_S = 10.0  # what the contract of `trichord down` promises


def regions(process: Process) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{process.shm_prefix}*"))


def stubs(process: Process) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if process.shm_prefix in " ".join(p.info["cmdline"] or [])]


def gone(supervisor: Supervisor) -> bool:
    return not any(state.id and state.id.alive for state in supervisor.states.values())


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while True:
            now = condition()
            if now if isinstance(now, bool) else await now:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def supervised(processes: list[Process], logs: Path) -> AsyncIterator[Supervisor]:
    """Started and watched; stopped within the bound."""
    supervisor = Supervisor(processes, logs, lambda: None)
    watch = None
    try:
        await supervisor.start()
        watch = asyncio.create_task(supervisor.watch())
        yield supervisor
    finally:
        if watch:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        begun_s = time.monotonic()
        await supervisor.stop()
        assert time.monotonic() - begun_s < STOP_BOUND_S
        assert gone(supervisor)


async def test_tiers_start_in_order_and_stop_in_reverse(fake: ProcessFactory, logs: Path) -> None:
    processes = [
        fake("serve", name="gateway", tier=2),
        fake("serve", name="a", tier=0),
        fake("serve", name="b", tier=1),
    ]
    with structlog.testing.capture_logs() as events:
        async with supervised(processes, logs) as supervisor:
            assert [state.phase for state in supervisor.states.values()] == ["ready"] * 3
    history = [(event["event"], event["process"]) for event in events]
    assert history == [
        *[(event, name) for name in ("a", "b", "gateway") for event in ("started", "ready")],
        *[("stopped", name) for name in ("gateway", "b", "a")],
    ]
    assert [event["status"] for event in events if event["event"] == "stopped"] == [0, 0, 0]


async def test_an_early_end_is_told_by_its_last_words_and_stops_the_start(fake: ProcessFactory, logs: Path) -> None:
    supervisor = Supervisor([fake("broken"), fake("serve"), fake("serve", name="later", tier=1)], logs, lambda: None)
    with pytest.raises(ClusterError) as caught:
        await supervisor.start()
    await supervisor.stop()
    assert str(caught.value) == "broken did not start: Checkpoint tensor llm.model.norm.weight is missing."
    assert gone(supervisor)
    assert supervisor.states["later"].started == 0


async def test_a_hang_at_start_is_told_and_can_be_stopped(fake: ProcessFactory, logs: Path) -> None:
    supervisor = Supervisor([fake("deaf", start_timeout_s=1.0)], logs, lambda: None)
    with pytest.raises(ClusterError, match=r"deaf was not ready after 1 s\. Read: trichord logs deaf"):
        await supervisor.start()
    await supervisor.stop()
    assert gone(supervisor)


async def test_a_program_that_is_not_there_is_told(fake: ProcessFactory, logs: Path) -> None:
    process = replace(fake("serve"), title="x", argv=("/no/such/program",))
    supervisor = Supervisor([process], logs, lambda: None)
    with pytest.raises(ClusterError, match=r"x did not start: its program cannot be run\."):
        await supervisor.start()
    await supervisor.stop()


async def test_one_that_ignores_sigterm_is_killed(fake: ProcessFactory, logs: Path) -> None:
    with structlog.testing.capture_logs() as events:
        async with supervised([fake("stubborn", stop_timeout_s=0.5)], logs):
            pass
    (stopped,) = [event for event in events if event["event"] == "stopped"]
    assert stopped["status"] == -signal.SIGKILL


async def test_one_that_is_suspended_is_killed(fake: ProcessFactory, logs: Path) -> None:
    async with supervised([fake("serve", stop_timeout_s=0.5)], logs) as supervisor:
        identity = supervisor.states["serve"].id
        assert identity
        os.kill(identity.pid, signal.SIGSTOP)


async def test_a_death_is_mended_and_logged(fake: ProcessFactory, logs: Path) -> None:
    process = fake("serve")
    with structlog.testing.capture_logs() as events:
        async with supervised([process], logs) as supervisor:
            first = supervisor.states["serve"].id
            assert first
            os.kill(first.pid, signal.SIGKILL)
            await until(lambda: supervisor.states["serve"].restarts == 1)
            await until(lambda: supervisor.states["serve"].phase == "ready")
            assert supervisor.states["serve"].id != first
            assert await is_ready("health", process.port)
    died = [event for event in events if event["event"] == "died"]
    assert [event["reason"] for event in died] == ["it was killed by signal 9 (Killed)"]


async def test_a_failing_restart_is_tried_again(fake: ProcessFactory, logs: Path, tmp_path: Path) -> None:
    """With the marker it serves; without it the first restart breaks and makes the marker, the second serves."""
    marker = tmp_path / "marker"
    marker.touch()
    async with supervised([fake("once", str(marker))], logs) as supervisor:
        marker.unlink()
        identity = supervisor.states["once"].id
        assert identity
        os.kill(identity.pid, signal.SIGKILL)
        await until(lambda: supervisor.states["once"].restarts == 2)
        await until(lambda: supervisor.states["once"].phase == "ready")


async def test_one_that_dies_too_often_is_left_dead_and_the_others_run_on(
    fake: ProcessFactory, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local_cluster.restarts.FIRST_DELAY_S", 0.0)
    doomed, healthy = fake("serve", name="doomed"), fake("serve", name="healthy")
    async with supervised([doomed, healthy], logs) as supervisor:
        for restarts in range(4):
            await until(lambda n=restarts: supervisor.states["doomed"].restarts == n)
            await until(lambda: supervisor.states["doomed"].phase == "ready")
            identity = supervisor.states["doomed"].id
            assert identity
            os.kill(identity.pid, signal.SIGKILL)
        await until(lambda: supervisor.states["doomed"].phase == "failed")
        assert supervisor.states["doomed"].restarts == 3
        assert await is_ready("health", healthy.port)


async def test_a_model_that_does_not_load_is_told(triton_process: ProcessFactory, logs: Path) -> None:
    process = triton_process(broken=True)
    supervisor = Supervisor([process], logs, lambda: None)
    with pytest.raises(ClusterError) as caught:
        await supervisor.start()
    await supervisor.stop()
    told = "llm-decoder's Triton did not start: checkpoint tensor llm.model.norm.weight is missing."
    assert str(caught.value) == told
    assert not regions(process)


async def test_triton_stops_in_time_with_a_stream_open(triton_process: ProcessFactory, logs: Path) -> None:
    """This build hangs on SIGTERM for as long as a client stream is open."""
    process = triton_process()
    client = TritonClient(f"127.0.0.1:{process.port}", 1 << 20)
    async with supervised([process], logs):
        stream = client.stream("counter", {"X": np.zeros(1, np.float32)}, {}, timeout_s=60.0)
        assert (await anext(stream))["Y"] == 0
        assert regions(process)
        assert stubs(process)
    assert not regions(process)
    assert not stubs(process)
    await stream.aclose()
    await client.close()


async def test_a_killed_triton_is_restarted_without_leftovers(triton_process: ProcessFactory, logs: Path) -> None:
    process = triton_process()
    async with supervised([process], logs) as supervisor:
        before = set(regions(process))
        identity = supervisor.states[process.name].id
        assert identity
        os.kill(identity.pid, signal.SIGKILL)
        await until(lambda: supervisor.states[process.name].restarts == 1)
        await until(lambda: supervisor.states[process.name].phase == "ready")
        assert len(regions(process)) == len(before)
        assert not before & set(regions(process))


async def test_what_a_killed_triton_leaves_is_cleaned(triton_process: ProcessFactory, logs: Path) -> None:
    """The leader alone is killed, as the out-of-memory killer does: stub and regions stay behind."""
    process = triton_process()
    supervisor = Supervisor([process], logs, lambda: None)
    await supervisor.start()
    identity = supervisor.states[process.name].id
    assert identity
    left = stubs(process)
    for pid in left:  # a stub that sleeps does not notice that its server is gone
        os.kill(pid, signal.SIGSTOP)
    os.kill(identity.pid, signal.SIGKILL)
    await until(lambda: not identity.alive)
    assert regions(process)
    assert shm.clean(process.shm_prefix) > 0
    assert not regions(process)
    assert not [pid for pid in left if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    await supervisor.stop()
