"""What must be there before a cluster's first process starts: checkpoint, Triton, model repositories, free ports."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from local_cluster import broker, scaling, topology
from local_cluster.jobs import KAFKA_SETTING, Jobs
from local_cluster.process import Process
from local_cluster.state import RunDirectory
from local_cluster.stores import Stores
from local_cluster.topology import MODALITIES, ClusterSpec, Places, Scaling
from trichord.checkpoint.locate import directory_of
from trichord.checkpoint.presets import preset
from trichord.errors import ClusterError
from trichord.home import home
from trichord.model_config import ModelConfig
from trichord.simulation.checkpoint import write_weightless
from trichord.simulation.profile import LatencyProfile
from trichord.triton import repository, runtime


class Prepared(NamedTuple):
    """What a cluster runs."""

    processes: Sequence[Process]
    """Always."""
    replicas: Mapping[str, Sequence[Sequence[Process]]]
    """As there is work for them: the processes of each replica, by service."""
    scaling: Scaling | None
    """None if nothing is scaled."""


def prepare(spec: ClusterSpec, directory: RunDirectory) -> Prepared:
    """Renders the model repositories, writes configurations and returns what to start.

    Raises CheckpointError, SettingsError or ClusterError saying what is missing, or which port is taken.
    """
    checkpoint = _simulated_checkpoint(spec, directory) if spec.simulation else spec.checkpoint
    dtype = spec.dtype or ModelConfig.read(checkpoint).dtype
    triton = runtime.install(home())
    prefix = topology.shm_prefix(directory.path)
    password, secret = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    stores = Stores.of(os.environ, directory.path / "stores", password, secret)
    stores.write(spec.port)
    scaled = scaling.prepare(spec, directory)
    further = (spec.simulation, scaled, *where_spans_go(spec), jobs_of(spec, directory))
    places = Places(checkpoint, triton, directory.repositories, prefix, stores, *further)
    for modality in MODALITIES:
        source = repository.model_repository(modality.package)
        repository.render(source, places.repositories / modality.service, dtype)
    cores = len(os.sched_getaffinity(0))
    processes = topology.processes(spec.port, dtype, places, cores)
    if scaled and importlib.util.find_spec("autoscaler"):
        processes.append(topology.autoscaler(spec.port, places))
    replicas = topology.replicas(spec.port, dtype, places, cores)
    _check_ports([*processes, *chain.from_iterable(chain.from_iterable(replicas.values()))])
    return Prepared(processes, replicas, scaled)


def where_spans_go(spec: ClusterSpec) -> tuple[str, bool]:
    """The URL of the collector that spans go to, and whether that is the cluster itself: unless a person named one."""
    named = os.environ.get(topology.OTLP_SETTING)
    return (f"http://{topology.traces_address(spec.port)}", True) if named is None else (named, False)


def jobs_of(spec: ClusterSpec, directory: RunDirectory) -> Jobs | None:
    """What jobs need, unless there are none; fetches the broker unless a person named a queue."""
    if not spec.jobs:
        return None
    program = None if os.environ.get(KAFKA_SETTING) else broker.install(home())
    return Jobs.of(os.environ, directory.jobs, program)


def _simulated_checkpoint(spec: ClusterSpec, directory: RunDirectory) -> Path:
    """The checkpoint, or one without weights if it is a preset that was not pulled; checks the latency profile too."""
    assert spec.simulation
    LatencyProfile.read(spec.simulation)
    if spec.checkpoint.exists() or spec.checkpoint != directory_of(spec.checkpoint.name):
        return spec.checkpoint
    checkpoint = directory.path / "checkpoint"
    write_weightless(preset(spec.checkpoint.name), checkpoint)
    return checkpoint


def _check_ports(processes: Iterable[Process]) -> None:
    for port, title in topology.ports(processes).items():
        with socket.socket() as probe:
            # As servers do, so that connections of an earlier run that linger in the kernel do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ClusterError(f"Port {port}, which {title} needs, is taken. Choose others with --port.") from error
