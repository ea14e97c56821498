"""What a cluster leaves on disk for others to read, and which process an id means."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local_cluster.process_id import ProcessId
from local_cluster.state import ClusterState, ProcessState, RunDirectory
from local_cluster.topology import ClusterSpec
from trichord.errors import ClusterError


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path, "default")
    directory.path.mkdir(parents=True)
    return directory


def _state() -> ClusterState:
    this = ProcessId.of(os.getpid())
    assert this
    process = ProcessState(name="gateway", title="gateway", port=7400, phase="ready", id=this, started=1.5, restarts=2)
    return ClusterState(spec=ClusterSpec(checkpoint=Path("/c")), supervisor=this, phase="ready", processes=[process])


def test_what_is_written_is_read(directory: RunDirectory) -> None:
    directory.write(_state())
    assert directory.read() == _state()


def test_nothing_is_read_where_nothing_was_written(directory: RunDirectory, tmp_path: Path) -> None:
    assert directory.read() is None
    assert RunDirectory(tmp_path, "other").read() is None


@pytest.mark.parametrize("text", ["", "{", "{}", '{"phase": "ready"}', "\x00\xff"])
def test_a_damaged_state_is_no_state(directory: RunDirectory, text: str) -> None:
    (directory.path / "state.json").write_text(text)
    assert directory.read() is None


def test_the_lock_is_held_by_one(directory: RunDirectory) -> None:
    with (
        directory.locked(),
        pytest.raises(ClusterError, match="Cluster default is already running"),
        directory.locked(),
    ):
        pass
    with directory.locked():
        assert directory.path.is_dir()


def test_clear_leaves_nothing_of_an_earlier_run(directory: RunDirectory) -> None:
    directory.clear()
    (directory.logs / "gateway.log").write_text("old")
    assert list(directory.log_files()) == ["gateway"]
    (directory.repositories / "old").mkdir()
    directory.supervisor_log.write_text("new")
    directory.clear()
    assert list(directory.log_files()) == ["supervisor"]
    assert list(directory.repositories.iterdir()) == []


def test_a_process_is_itself_and_no_later_one() -> None:
    this = ProcessId.of(os.getpid())
    assert this
    assert this.alive
    assert not this.model_copy(update={"start_ticks": this.start_ticks - 1}).alive


def test_a_process_that_ended_is_dead_even_before_it_is_reaped() -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    identity = ProcessId.of(popen.pid)
    assert identity
    assert popen.stdout
    popen.stdout.read()
    os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.alive
    popen.wait()
    popen.stdout.close()
    assert not identity.alive


def test_there_is_no_process_without_an_id() -> None:
    assert ProcessId.of(2**22 + 1) is None
