"""Scaling of a local cluster: what it needs on disk, and its replicas while the cluster runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import yaml

from local_cluster import control
from local_cluster.process import Process
from local_cluster.replica_set import ReplicaSet
from local_cluster.state import RunDirectory
from local_cluster.supervisor import Supervisor
from local_cluster.topology import ClusterSpec, Scaling

_IDLE_S, _STARTUP_S = 60.0, 8.0


def prepare(spec: ClusterSpec, directory: RunDirectory) -> Scaling | None:
    """Makes the folder of targets, and writes the autoscaler's rules unless the spec names some."""
    if not spec.max_replicas:
        return None
    targets = directory.path / "targets"
    targets.mkdir(exist_ok=True)
    rules = directory.path / "rules.yaml"
    if spec.rules is None:
        rules.write_text(_rules(spec.max_replicas))
    return Scaling(spec.max_replicas, targets, directory.path / "control.sock", spec.rules or rules)


def _rules(max_replicas: int) -> str:
    """For one machine: replicas start in seconds, cost no GPU, and rest soon."""
    encoder = {
        "min_replicas": 0,
        "max_replicas": max_replicas,
        "startup_s": _STARTUP_S,
        "idle_s": _IDLE_S,
        "down_window_s": _IDLE_S / 2,
        "step_down_every_s": 5.0,
        "gpus_per_replica": 0.0,
    }
    return yaml.safe_dump({"modalities": {"vision": encoder, "audio": encoder}})


@asynccontextmanager
async def scaled(
    supervisor: Supervisor, replicas: Mapping[str, Sequence[Sequence[Process]]], scaling: Scaling | None
) -> AsyncIterator[None]:
    """Scales the services as the control socket is told, for as long as the context lasts.

    Raises ClusterError if there cannot be such a socket.
    """
    if scaling is None:
        yield
        return
    sets = {
        service: ReplicaSet(service, slots, supervisor, scaling.target(service)) for service, slots in replicas.items()
    }
    try:
        async with control.listening(sets, scaling.control_socket):
            yield
    finally:
        for replica_set in sets.values():
            await replica_set.close()
