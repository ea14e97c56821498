"""A simulated cluster: every process is told the same, and no weights are needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_cluster import preparation, topology
from local_cluster.preparation import prepare
from local_cluster.state import RunDirectory
from local_cluster.stores import Stores
from local_cluster.topology import ClusterSpec, Places
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError, SettingsError
from trichord.model_config import ModelConfig
from trichord.simulation.profile import DEFAULT
from trichord.triton.runtime import Triton

TRITON = Triton(Path("/t/bin/tritonserver"), Path("/t/backends"))


def told(simulation: Path | None, suffix: str) -> set[str]:
    """What the processes of a cluster are told by the settings of that name."""
    places = Places(
        Path("/c/tiny"), TRITON, Path("/r"), "prefix-", Stores.of({}, Path("/r"), "s3cret", "s" * 32), simulation
    )
    processes = topology.processes(7400, "float32", places, cores=2)
    return {value for process in processes for key, value in process.env.items() if key.endswith(suffix)}


def test_models_and_fronts_are_told_the_same_backend():
    assert told(None, "_BACKEND") == {"torch"}
    assert told(DEFAULT, "_BACKEND") == {"simulated"}


def test_only_a_simulated_cluster_has_a_profile():
    assert told(None, "_SIMULATION") == set()
    assert told(DEFAULT, "_SIMULATION") == {str(DEFAULT)}


def test_what_only_waits_needs_one_thread():
    assert told(None, "_MODEL_THREADS") == {"1", "2"}
    assert told(DEFAULT, "_MODEL_THREADS") == {"1"}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    monkeypatch.setattr(preparation.runtime, "install", lambda home: TRITON)
    directory = RunDirectory(tmp_path, "sim")
    directory.clear()
    return directory


def spec(home: Path, name: str, simulation: Path | None = DEFAULT) -> ClusterSpec:
    return ClusterSpec(name="sim", checkpoint=home / "checkpoints" / name, simulation=simulation, port=27000)


def test_a_preset_that_was_not_pulled_is_simulated_without_weights(tmp_path: Path, directory: RunDirectory) -> None:
    for _ in range(2):  # the second time over what the first left
        directory.clear()
        processes = prepare(spec(tmp_path, "megrez-3b-omni"), directory).processes
    checkpoints = {Path(value) for p in processes for key, value in p.env.items() if key.endswith("_CHECKPOINT")}
    assert len(checkpoints) == 1
    assert ModelConfig.read(checkpoints.pop()) == PRESETS["megrez-3b-omni"]
    assert not (tmp_path / "checkpoints").exists()


def test_a_real_cluster_still_needs_its_checkpoint(tmp_path: Path, directory: RunDirectory) -> None:
    with pytest.raises(CheckpointError, match="There is no"):
        prepare(spec(tmp_path, "smol", simulation=None), directory)


def test_what_is_no_preset_is_named(tmp_path: Path, directory: RunDirectory) -> None:
    with pytest.raises(CheckpointError, match="no preset 'mine'"):
        prepare(spec(tmp_path, "mine"), directory)


def test_a_wrong_profile_is_refused_before_anything_starts(tmp_path: Path, directory: RunDirectory) -> None:
    profile = tmp_path / "p.yaml"
    profile.write_text("provenance: measured\n")
    with pytest.raises(SettingsError, match=r"p.yaml: note: Field required"):
        prepare(spec(tmp_path, "smol", profile), directory)
