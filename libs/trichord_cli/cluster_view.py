"""How a local cluster's state looks to people: rows that fill in while it starts, a table once it runs; JSON too."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Self

import psutil
from rich import box, progress
from rich.console import Console
from rich.table import Table

from local_cluster.state import ClusterState, ProcessState

_SETTLED = ("ready", "failed", "stopped")


class Progress:
    """One row for each process, on stderr, until the cluster is ready."""

    def __init__(self) -> None:
        columns = (
            progress.SpinnerColumn(finished_text="[green]✓"),
            progress.TextColumn("{task.description}"),
            progress.TextColumn("{task.fields[phase]}"),
            progress.TimeElapsedColumn(),
        )
        self._rows = progress.Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, progress.TaskID] = {}

    def __enter__(self) -> Self:
        self._rows.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._rows.stop()

    def show(self, state: ClusterState) -> None:
        """Shows the state; after the first time that all is ready, nothing more."""
        for process in state.processes:
            self._show(process)
        if state.phase == "ready":
            self._rows.stop()

    def _show(self, process: ProcessState) -> None:
        if process.name not in self._tasks:
            self._tasks[process.name] = self._rows.add_task(process.title, start=False, total=1, phase=process.phase)
        task = self._tasks[process.name]
        if process.started:
            self._rows.start_task(task)
        self._rows.update(task, phase=process.phase, completed=int(process.phase == "ready"))
        if process.phase in _SETTLED:
            self._rows.stop_task(task)


def table(state: ClusterState) -> Table:
    """A cluster that runs, or what became of it."""
    facts = as_dict(state)
    simulated = f" (simulated: {facts['simulation']})" if facts["simulation"] else ""
    view = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # as narrow as a terminal of 80 columns
        pad_edge=False,
        title=f"cluster {facts['name']}: {facts['checkpoint']}{simulated} on {facts['target']}, {facts['phase']}",
    )
    for column in ("process", "state", "pid", "port", "memory", "restarts", "start", "up"):
        view.add_column(column, justify="left" if column in ("process", "state") else "right", no_wrap=True)
    for process in facts["processes"]:
        view.add_row(
            process["name"],
            process["phase"],
            str(process["pid"] or ""),
            str(process["port"]),
            f"{process['memory_bytes'] / 2**20:.0f} MiB",
            str(process["restarts"]),
            f"{process['start_seconds']:.1f} s",
            f"{process['up_seconds']:.0f} s",
        )
    view.caption = facts["message"] or None
    return view


def as_dict(state: ClusterState | None) -> dict[str, Any]:
    """The state for machines: what runs now, not what was last written."""
    if state is None:
        return {"phase": "down", "processes": []}
    killed = not state.running and state.phase != "failed"
    return {
        "name": state.spec.name,
        "checkpoint": state.spec.checkpoint.name,
        "simulation": state.spec.simulation.stem if state.spec.simulation else None,
        "target": f"127.0.0.1:{state.spec.port}",
        "phase": "killed" if killed else state.phase,
        "message": "Its supervisor was killed. Clean up with: trichord down" if killed else state.message,
        "supervisor_pid": state.supervisor.pid,
        "processes": [_process(process) for process in state.processes],
    }


def _process(state: ProcessState) -> dict[str, Any]:
    alive = state.id is not None and state.id.alive
    return {
        "name": state.name,
        "phase": state.phase if alive or state.phase in _SETTLED[1:] else "dead",
        "pid": state.id.pid if state.id and alive else None,
        "port": state.port,
        "metrics_port": state.metrics_port or None,
        "memory_bytes": _memory_bytes(state.id.pid) if state.id and alive else 0,
        "restarts": state.restarts,
        "start_seconds": max(0.0, state.ready - state.started),
        "up_seconds": time.time() - state.started if alive else 0.0,
    }


def _memory_bytes(pid: int) -> int:
    """Resident memory of a process and its children: a Triton's model lives in its stub."""
    try:
        leader = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (leader, *leader.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0
