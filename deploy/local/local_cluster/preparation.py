"""What must be there before a cluster's first process starts: checkpoint, Triton, model repositories, free ports."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from local_cluster import topology
from local_cluster.state import RunDirectory
from local_cluster.topology import MODALITIES, ClusterSpec, Places, Process
from trichord.errors import ClusterError
from trichord.home import home
from trichord.model_config import ModelConfig
from trichord.triton import repository, runtime


def prepare(spec: ClusterSpec, directory: RunDirectory) -> list[Process]:
    """Renders the model repositories and returns the processes to start.

    Raises CheckpointError or ClusterError saying what is missing, or which port is taken.
    """
    dtype = spec.dtype or ModelConfig.read(spec.checkpoint).dtype
    triton = runtime.install(home())
    places = Places(spec.checkpoint, triton, directory.repositories, topology.shm_prefix(directory.path))
    for modality in MODALITIES:
        source = repository.model_repository(modality.package)
        repository.render(source, places.repositories / modality.service, dtype)
    processes = topology.processes(spec.port, dtype, places, cores=len(os.sched_getaffinity(0)))
    _check_ports(processes)
    return processes


def _check_ports(processes: Iterable[Process]) -> None:
    for port, title in topology.ports(processes).items():
        with socket.socket() as probe:
            # As servers do, so that connections of an earlier run that linger in the kernel do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ClusterError(f"Port {port}, which {title} needs, is taken. Choose others with --port.") from error
