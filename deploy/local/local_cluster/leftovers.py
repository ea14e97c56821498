"""What a supervisor that was killed left behind: its processes, their stubs, their shared memory, its state file."""

from __future__ import annotations

import time

import structlog

from local_cluster import shm
from local_cluster.child import kill_group
from local_cluster.process_id import ProcessId
from local_cluster.state import RunDirectory
from local_cluster.topology import shm_prefix

log = structlog.get_logger(__name__)

_KILL_TIMEOUT_S = 3.0
_POLL_S = 0.02


def clean(directory: RunDirectory) -> None:
    """Ends and removes them; fine if there are none. The caller holds the directory's lock."""
    state = directory.read()
    ids = [process.id for process in state.processes if process.id] if state else []
    left = [process_id for process_id in ids if process_id.alive]
    for process_id in left:
        kill_group(process_id.pid)
    _wait(left)
    regions = shm.clean(shm_prefix(directory.path))
    if left or regions:
        log.warning("cleaned up after a killed cluster", processes=len(left), regions=regions)
    directory.forget()


def _wait(ids: list[ProcessId]) -> None:
    deadline_s = time.monotonic() + _KILL_TIMEOUT_S
    while any(process_id.alive for process_id in ids) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
