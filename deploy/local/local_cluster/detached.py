"""A supervisor in the background: starts one, and follows it until its cluster is ready."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from local_cluster import diagnosis
from local_cluster.state import ClusterState, RunDirectory
from local_cluster.topology import ClusterSpec
from trichord.errors import ClusterError

_POLL_S = 0.1


def launch(spec: ClusterSpec, directory: RunDirectory) -> Iterator[ClusterState]:
    """Starts a supervisor and yields what it reports until the cluster is ready.

    Raises ClusterError, saying why, if it runs already, or if it fails: everything that was started is stopped then.
    The supervisor lives on when the caller stops to listen.
    """
    with directory.locked():  # so that a log in use is not truncated
        pass
    popen = _spawn(spec, directory.supervisor_log)
    while popen.poll() is None:
        state = directory.read()
        if state and state.supervisor.pid == popen.pid:
            yield state
            if state.phase == "ready":
                return
        time.sleep(_POLL_S)
    state = directory.read()
    if state and state.supervisor.pid == popen.pid and state.phase == "failed":
        raise ClusterError(state.message)
    reason = diagnosis.reason(directory.supervisor_log.read_text(errors="replace"), popen.returncode)
    raise ClusterError(f"The supervisor did not start: {reason}.")


def _spawn(spec: ClusterSpec, supervisor_log: Path) -> subprocess.Popen[bytes]:
    with supervisor_log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "local_cluster", spec.model_dump_json()],
            cwd=supervisor_log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
