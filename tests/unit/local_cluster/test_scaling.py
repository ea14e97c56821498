"""What a scaled cluster is prepared with. Pure but for files; nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.rules import FleetRules
from local_cluster import preparation
from local_cluster.preparation import Prepared, prepare
from local_cluster.state import RunDirectory
from local_cluster.topology import ClusterSpec
from trichord.simulation.profile import DEFAULT
from trichord.triton.runtime import Triton


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    server = Triton(Path("/t/bin/tritonserver"), Path("/t/backends"))
    monkeypatch.setattr(preparation.runtime, "install", lambda home: server)
    directory = RunDirectory(tmp_path, "scaled")
    directory.clear()
    return directory


def prepared(directory: RunDirectory, **fields: object) -> Prepared:
    checkpoint = directory.path.parents[1] / "checkpoints" / "tiny"
    spec = {"name": "scaled", "checkpoint": checkpoint, "simulation": DEFAULT, "port": 28000, **fields}
    return prepare(ClusterSpec.model_validate(spec), directory)


def test_a_plain_cluster_has_one_of_each_and_nobody_who_scales(directory: RunDirectory) -> None:
    names = [process.name for process in prepared(directory).processes]
    assert "vision-encoder" in names
    assert "autoscaler" not in names


def test_a_scaled_one_has_an_autoscaler_and_places_for_replicas(directory: RunDirectory) -> None:
    told = prepared(directory, max_replicas=2)
    assert "autoscaler" in [process.name for process in told.processes]
    assert {service: len(slots) for service, slots in told.replicas.items()} == {
        "vision-encoder": 2,
        "audio-encoder": 2,
    }
    replicas = [process for slots in told.replicas.values() for slot in slots for process in slot]
    assert all(process.niceness for process in replicas)
    assert not any(process.niceness for process in told.processes)


def test_the_rules_are_the_specs_or_our_own_which_the_autoscaler_understands(directory: RunDirectory) -> None:
    own = prepared(directory, max_replicas=2).scaling
    assert own
    rules = FleetRules.read(own.rules).modalities
    assert set(rules) == {"vision", "audio"}
    assert all((one.min_replicas, one.max_replicas, one.gpus_per_replica) == (0, 2, 0) for one in rules.values())
    directory.clear()
    named = prepared(directory, max_replicas=2, rules=directory.path / "mine.yaml").scaling
    assert named
    assert named.rules == directory.path / "mine.yaml"
