"""One cluster from start to end, in this process; and how to end one that another process runs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import structlog

from local_cluster import leftovers
from local_cluster.preparation import Prepared, prepare
from local_cluster.process_id import ProcessId
from local_cluster.scaling import scaled
from local_cluster.state import ClusterState, Phase, RunDirectory
from local_cluster.supervisor import Supervisor
from local_cluster.topology import ClusterSpec
from trichord.errors import ClusterError, TrichordError

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 12.0
"""Seconds that a supervisor may take to stop its cluster, in 10 s at most, before it is killed itself."""
_POLL_S = 0.1

OnChange = Callable[[ClusterState], None]


class Cluster:
    """A cluster that this process supervises."""

    def __init__(self, spec: ClusterSpec, directory: RunDirectory, on_change: OnChange) -> None:
        self._spec = spec
        self._directory = directory
        self._on_change = on_change
        self._phase: Phase = "starting"
        self._supervisor: Supervisor | None = None

    async def run(self) -> None:
        """Runs until SIGTERM or SIGINT, then stops everything.

        Raises ClusterError or CheckpointError, everything stopped, if it cannot start or runs already.
        """
        with self._directory.locked():
            leftovers.clean(self._directory)
            self._directory.clear()
            try:
                await self._run()
            except TrichordError as error:
                log.error("failed", reason=str(error))
                self._report("failed", str(error))
                raise
            self._directory.forget()

    async def _run(self) -> None:
        self._report("starting")
        prepared = await asyncio.to_thread(prepare, self._spec, self._directory)
        self._supervisor = Supervisor(prepared.processes, self._directory.logs, lambda: self._report(self._phase))
        stop = asyncio.create_task(_signalled(), name="signals")
        work = asyncio.create_task(self._work(self._supervisor, prepared), name="supervise")
        try:
            await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._report("stopping")
            stop.cancel()
            work.cancel()
            await asyncio.gather(stop, work, return_exceptions=True)
            await self._supervisor.stop()
        if not work.cancelled():
            work.result()

    async def _work(self, supervisor: Supervisor, prepared: Prepared) -> None:
        async with scaled(supervisor, prepared.replicas, prepared.scaling):
            await supervisor.start()
            self._report("ready")
            log.info("ready", port=self._spec.port)
            await supervisor.watch()
        raise ClusterError("Every process died too often. Read: trichord logs")

    def _report(self, phase: Phase, message: str = "") -> None:
        self._phase = phase
        supervisor = ProcessId.of(os.getpid())
        assert supervisor, "this process runs"
        states = list(self._supervisor.states.values()) if self._supervisor else []
        state = ClusterState(spec=self._spec, supervisor=supervisor, phase=phase, message=message, processes=states)
        self._directory.write(state)
        self._on_change(state)


async def _signalled() -> None:
    """Waits for SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await stopping.wait()


def stop(directory: RunDirectory) -> bool:
    """Stops the cluster that runs in ``directory`` and cleans up after one that was killed; tells whether one ran."""
    if not directory.path.exists():
        return False
    state = directory.read()
    running = state is not None and state.running
    if state and running:
        _end(state.supervisor)
    with directory.locked():
        leftovers.clean(directory)
    return running


def _end(supervisor: ProcessId) -> None:
    os.kill(supervisor.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + STOP_TIMEOUT_S
    while supervisor.alive and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
    while supervisor.alive:
        os.kill(supervisor.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
