"""How a cluster that runs looks in a terminal."""

from __future__ import annotations

import os
import time
from io import StringIO
from pathlib import Path

from rich.console import Console

from local_cluster.state import ClusterSpec, ClusterState, ProcessId, ProcessState
from trichord_cli import cluster_view


def test_a_cluster_fits_a_terminal_of_80_columns() -> None:
    now, own = time.time(), ProcessId.of(os.getpid())
    process = ProcessState(
        name="vision-encoder-triton",
        title="vision-encoder's Triton",
        port=7311,
        phase="ready",
        id=own,
        started=now - 86_400,
        ready=now - 86_388,
    )
    spec = ClusterSpec(name="lab", checkpoint=Path("/c/tiny"))
    state = ClusterState(spec=spec, supervisor=own, phase="ready", processes=[process])
    console = Console(file=StringIO(), width=80, color_system=None)
    console.print(cluster_view.table(state))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    (row,) = [line.split() for line in text.splitlines() if "vision" in line]
    assert row[:4] == ["vision-encoder-triton", "ready", str(os.getpid()), "7311"]
    assert row[-5:] == ["0", "12.0", "s", "86400", "s"]
    assert "…" not in text
