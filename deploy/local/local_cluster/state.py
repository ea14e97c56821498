"""What is known of a cluster, in one file of its run directory: written by its supervisor, read by anyone.

A supervisor holds its directory's lock while it lives; the kernel drops it however the supervisor dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from local_cluster.process_id import ProcessId
from local_cluster.topology import ClusterSpec
from trichord.errors import ClusterError

Phase = Literal["starting", "ready", "stopping", "failed"]
ProcessPhase = Literal["waiting", "starting", "ready", "restarting", "failed", "stopped"]


class ProcessState(BaseModel):
    """One process of the cluster."""

    name: str
    title: str
    port: int
    metrics_port: int = 0
    """Of its metrics page; 0 if it has none."""
    phase: ProcessPhase = "waiting"
    id: ProcessId | None = None
    started: float = 0.0
    """When it was last started, in seconds since the epoch; 0 if it was not."""
    ready: float = 0.0
    """When it was last ready, in seconds since the epoch; 0 if it was not."""
    restarts: int = 0


class ClusterState(BaseModel):
    """A cluster."""

    spec: ClusterSpec
    supervisor: ProcessId
    phase: Phase = "starting"
    message: str = ""
    """Why it failed, in one sentence."""
    processes: list[ProcessState] = []

    @property
    def running(self) -> bool:
        """Whether its supervisor runs; if not, what it says of its processes is the past."""
        return self.supervisor.alive


class RunDirectory:
    """``run/<name>`` of one cluster: state, lock, logs and model repositories."""

    def __init__(self, home: Path, name: str) -> None:
        self.path = home / "run" / name
        self.logs = self.path / "logs"
        self.repositories = self.path / "repositories"
        self.jobs = self.path / "jobs"
        self.supervisor_log = self.path / "supervisor.log"
        self._state = self.path / "state.json"
        self._lock = self.path / "lock"

    def log_files(self) -> dict[str, Path]:
        """Every log that is there, by the name of its process; the supervisor's own is ``supervisor``."""
        files = [*sorted(self.logs.glob("*.log")), self.supervisor_log]
        return {file.stem: file for file in files if file.is_file()}

    def read(self) -> ClusterState | None:
        """What was last written; None if nothing was, or nothing that can be read."""
        try:
            return ClusterState.model_validate_json(self._state.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, state: ClusterState) -> None:
        """Replaces the state at once: a reader sees the old one or the new one."""
        scratch = self._state.with_suffix(".new")
        scratch.write_text(state.model_dump_json(indent=2))
        scratch.replace(self._state)

    def clear(self) -> None:
        """Removes what an earlier run left in files, and makes room for the next."""
        for folder in (self.logs, self.repositories):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def forget(self) -> None:
        """Removes the state."""
        self._state.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the cluster's lock. Raises ClusterError if its supervisor runs."""
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ClusterError(f"Cluster {self.path.name} is already running. Stop it with: trichord down") from error
        try:
            yield
        finally:
            os.close(descriptor)
