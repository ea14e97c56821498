"""Runs the processes of a cluster: starts them in order, restarts one that dies, stops them in order.

Those that it is made with are there from its start to its end; others come and go between (``bring_up``).

Knows nothing of what the processes do. Every change is reported to ``on_change``; the states are in ``states``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import structlog

from local_cluster.child import Child
from local_cluster.process import Process
from local_cluster.process_id import ProcessId
from local_cluster.restarts import WINDOW_S, RestartBudget
from local_cluster.state import ProcessPhase, ProcessState
from trichord.errors import ClusterError

log = structlog.get_logger(__name__)


class Supervisor:
    """The processes of one cluster and what became of them."""

    def __init__(self, processes: Sequence[Process], logs: Path, on_change: Callable[[], None]) -> None:
        self._processes = {process.name: process for process in processes}
        self._logs = logs
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self.states = {process.name: _state(process) for process in _in_order(processes)}

    async def start(self) -> None:
        """Starts every process, a tier at a time. Raises ClusterError at the first that fails; then call ``stop``."""
        for _, tier in groupby(_in_order(self._processes.values()), key=attrgetter("tier")):
            await _all(self._start(process) for process in tier)

    async def watch(self) -> None:
        """Restarts what dies, until cancelled. One that dies too often is left dead, and the others run on."""
        await _all(self.keep(process) for process in _in_order(self._processes.values()))

    async def stop(self) -> None:
        """Stops every process, the last tier first, so that no stream into a Triton is open when its turn comes."""
        for _, tier in groupby(reversed(_in_order(self._processes.values())), key=attrgetter("tier")):
            await _all(self._stop(process) for process in tier)

    async def bring_up(self, process: Process) -> None:
        """Starts one more; ``stop`` will stop it too. Raises ClusterError if it does not start."""
        self._processes[process.name] = process
        self.states[process.name] = _state(process)
        await self._start(process)

    async def bring_down(self, process: Process, patience_s: float) -> None:
        """Stops one that was brought up, giving it ``patience_s`` at least to end its work, and forgets it."""
        if child := self._children.pop(process.name, None):
            await child.stop(patience_s)
            log.info("stopped", process=process.name, status=child.status)
        self._processes.pop(process.name, None)
        self.states.pop(process.name, None)
        self._on_change()

    async def keep(self, process: Process) -> None:
        """Restarts a process that was started whenever it dies, until cancelled, or until it dies too often."""
        budget = RestartBudget()
        while True:
            child = self._children[process.name]
            await child.ended()
            await child.kill()
            log.error("died", process=process.name, reason=child.reason())
            if not await self._restart(process, budget):
                return

    async def _start(self, process: Process) -> None:
        child = self._children[process.name] = await Child.start(process, self._logs / f"{process.name}.log")
        self._change(process, "starting", id=ProcessId.of(child.pid), started=time.time(), ready=0.0)
        log.info("started", process=process.name, pid=child.pid)
        await child.ready()
        self._change(process, "ready", ready=time.time())
        log.info("ready", process=process.name)

    async def _restart(self, process: Process, budget: RestartBudget) -> bool:
        """Starts a dead process again, as often as the budget allows; tells whether it is ready."""
        while (delay_s := budget.delay_s(time.monotonic())) is not None:
            self._change(process, "restarting", restarts=self.states[process.name].restarts + 1)
            log.warning("restarting", process=process.name, delay_s=delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self._start(process)
            except ClusterError as error:
                log.error("restart failed", process=process.name, reason=str(error))
                await self._children[process.name].kill()
            else:
                return True
        self._change(process, "failed")
        log.error("given up: it died too often", process=process.name, window_s=WINDOW_S)
        return False

    async def _stop(self, process: Process) -> None:
        if child := self._children.get(process.name):
            await child.stop()
            log.info("stopped", process=process.name, status=child.status)
        self._change(process, "stopped")

    def _change(self, process: Process, phase: ProcessPhase, **fields: object) -> None:
        state = self.states[process.name]
        self.states[process.name] = state.model_copy(update={"phase": phase, **fields})
        self._on_change()


def _state(process: Process) -> ProcessState:
    return ProcessState(name=process.name, title=process.title, port=process.port, metrics_port=process.metrics_port)


def _in_order(processes: Iterable[Process]) -> list[Process]:
    return sorted(processes, key=attrgetter("tier"))


async def _all(coroutines: Iterable[Coroutine[None, None, None]]) -> None:
    """Runs them side by side; the first error cancels the others and is raised as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
