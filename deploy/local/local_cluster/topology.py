"""Which processes make up a cluster: how each is started, when it is ready, and in which order they come and go.

Pure: reads no file and starts nothing. All numbers that divide one machine's cores among the processes are here.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from local_cluster import jobs
from local_cluster.jobs import Jobs
from local_cluster.process import DRAIN_TIMEOUT_S, Process, address, service
from local_cluster.stores import Store, Stores
from trichord.model_config import Dtype
from trichord.settings import Backend
from trichord.triton import runtime

DEFAULT_PORT = 7400
OTLP_SETTING = "TRICHORD_TELEMETRY_OTLP_URL"
"""Set by a person, that collector gets the spans; set to nothing, nobody does; unset, the cluster keeps them itself."""
# Billions of weights are read from a cold disk.
_TRITON_START_S = 300.0
_STORE_START_S, _STORE_STOP_S = 20.0, 1.0
_TRACES_START_S, _TRACES_STOP_S = 30.0, 1.5
_TRITON_STOP_S = runtime.EXIT_TIMEOUT_S + 2.0
REPLICA_DRAIN_S = 30.0
"""Seconds that a replica which is no longer wanted has to end its calls."""
_REPLICA_NICENESS = 10
"""A replica starts and works on the same cores as the text that goes on meanwhile, which comes first."""
_STARTUP_S = 10
"""What the gateway assumes that a replica takes to start here, until it has seen one start."""

# Offsets to the cluster's port.
HTTP_PORT_OFFSET = 4
_AUTOSCALER_PORT, _EXPLAIN_PORT = 5, 6
TRACES_PORT_OFFSET = 7
_TRITON_PORTS, _TRITON_METRICS_PORTS, _METRICS_PORTS, _REPLICA_PORTS = 10, 13, 20, 24
_GATEWAY_METRICS_PORT, _AUTOSCALER_METRICS_PORT = 17, 18
_PORTS_OF_A_REPLICA = 4
MAX_REPLICAS = 8


class ClusterSpec(BaseModel):
    """What a person asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="Tells clusters of one home apart.")
    checkpoint: Path = Field(description="Absolute path of the checkpoint to serve.")
    dtype: Dtype | None = Field(None, description="Type that the towers run in; unset: the checkpoint's own.")
    simulation: Path | None = Field(
        None, description="Latency profile of models that are only simulated; unset: they are real."
    )
    port: int = Field(
        DEFAULT_PORT,
        ge=1024,
        le=65400,
        description="The gateway's; the other processes take some of the next 23, and 12 for each further replica.",
    )
    max_replicas: int = Field(
        0,
        ge=0,
        le=MAX_REPLICAS,
        description="Most replicas of each encoder where they are scaled on demand, from none; 0: one, always.",
    )
    rules: Path | None = Field(None, description="How they are scaled, a file for the autoscaler; unset: ours.")
    jobs: bool = Field(False, description="Whether it takes jobs: with a queue, and a worker behind the gateway.")


@dataclass(frozen=True)
class Modality:
    """A front and the Triton beside it."""

    service: str
    package: str
    setting: str
    """What the gateway's setting for it is called, and the middle of its own settings' prefix."""
    port_offset: int
    all_cores: bool
    """Whether its model may use every core, or one."""
    scaled: bool
    """Whether there may be several, or none, as there is work for them."""


# Two cores, three models: a decode step is on the path of every token, encoders run beside it. Oversubscribed OpenMP
# threads run at a tenth of their speed, so only one of the three may take all cores.
MODALITIES = (
    Modality("vision-encoder", "vision_encoder", "VISION", 1, all_cores=False, scaled=True),
    Modality("audio-encoder", "audio_encoder", "AUDIO", 2, all_cores=False, scaled=True),
    Modality("llm-decoder", "llm_decoder", "DECODER", 3, all_cores=True, scaled=False),
)


@dataclass(frozen=True)
class Scaling:
    """What those who scale and those who are told of it share."""

    max_replicas: int
    targets: Path
    """Folder with a file for each scaled service: the addresses of its replicas."""
    control_socket: Path
    rules: Path

    def target(self, service: str) -> Path:
        """The file that lists a service's replicas."""
        return self.targets / service


@dataclass(frozen=True)
class Places:
    """What the processes of one cluster find on disk."""

    checkpoint: Path
    triton: runtime.Triton
    repositories: Path
    """One folder for each service: its rendered model repository."""
    shm_prefix: str
    """What the names of the cluster's /dev/shm regions begin with."""
    stores: Stores
    simulation: Path | None = None
    """The latency profile of models that are only simulated; None if they are real."""
    scaling: Scaling | None = None
    """Where replicas are scaled on demand; None if there is one of each."""
    otlp_url: str = ""
    """Base URL of the collector that spans go to; empty: nothing is recorded."""
    keeps_traces: bool = False
    """Whether that is a process of the cluster itself."""
    jobs: Jobs | None = None
    """What jobs need; None if the cluster takes none."""

    @property
    def backend(self) -> Backend:
        """How the models answer."""
        return "simulated" if self.simulation else "torch"


def shm_prefix(run: Path) -> str:
    """The prefix of the cluster whose run directory this is: the same each time it starts, and no other cluster's."""
    return f"trichord-{hashlib.sha256(str(run).encode()).hexdigest()[:12]}-"


class Slot(NamedTuple):
    """A replica's place: what it is called, and the ports that it has."""

    number: int
    """From 1."""
    name: str
    port: int
    triton_port: int
    triton_metrics_port: int
    metrics_port: int
    """The front's, whose page carries Triton's."""


def slot(modality: Modality, number: int, port: int) -> Slot:
    """The place of a replica in the cluster at ``port``."""
    service, offset = modality.service, modality.port_offset
    if number == 1:
        bases = (0, _TRITON_PORTS, _TRITON_METRICS_PORTS, _METRICS_PORTS)
        return Slot(1, service, *(port + base + offset for base in bases))
    first = port + _REPLICA_PORTS + _PORTS_OF_A_REPLICA * (len(MODALITIES) * (number - 2) + offset - 1)
    return Slot(number, f"{service}-{number}", first, first + 1, first + 2, first + 3)


def processes(port: int, dtype: Dtype, places: Places, cores: int) -> list[Process]:
    """Every process that a cluster whose gateway listens on ``port`` always has, in the order in which they start."""
    fixed = [modality for modality in MODALITIES if not (places.scaling and modality.scaled)]
    tritons, fronts = zip(*(_replica(modality, 1, port, dtype, places, cores) for modality in fixed), strict=True)
    stores = [_store(store, port, places.stores) for store in places.stores.started]
    traces = [_traces(port)] if places.keeps_traces else []
    brokers = [jobs.broker(port, places.jobs.program)] if places.jobs and places.jobs.program else []
    workers = [_traced(jobs.worker(port, places.jobs), places)] if places.jobs else []
    return [*tritons, *stores, *brokers, *traces, *fronts, _gateway(port, places), *workers]


def replicas(port: int, dtype: Dtype, places: Places, cores: int) -> dict[str, list[tuple[Process, ...]]]:
    """The processes of every replica that may be, by service: those that are scaled on demand."""
    if places.scaling is None:
        return {}
    numbers = range(1, places.scaling.max_replicas + 1)
    return {
        modality.service: [_replica(modality, number, port, dtype, places, cores) for number in numbers]
        for modality in MODALITIES
        if modality.scaled
    }


def autoscaler(port: int, places: Places) -> Process:
    """The process that scales them."""
    assert places.scaling, "nothing is scaled"
    settings = {
        "MODE": "local",
        "STATE_URL": places.stores.state_url(port),
        "CONTROL_SOCKET": str(places.scaling.control_socket),
        "RULES": str(places.scaling.rules),
        "ADMIN_LISTEN": address(port + _EXPLAIN_PORT),
    }
    listens = port + _AUTOSCALER_PORT, port + _AUTOSCALER_METRICS_PORT
    process = service("autoscaler", "autoscaler", "AUTOSCALER", *listens, settings, 2)
    return _traced(replace(process, http_port=port + _EXPLAIN_PORT), places)


def traces_address(port: int) -> str:
    """Where a cluster that keeps its own traces does so."""
    return address(port + TRACES_PORT_OFFSET)


def ports(processes: Iterable[Process]) -> dict[int, str]:
    """Every port that ``processes`` listen on, and the title of the one that does."""
    return {
        port: process.title
        for process in processes
        for port in (process.port, process.http_port, process.metrics_port)
        if port
    }


def _replica(
    modality: Modality, number: int, port: int, dtype: Dtype, places: Places, cores: int
) -> tuple[Process, Process]:
    """A Triton and the front before it."""
    place = slot(modality, number, port)
    niceness = _REPLICA_NICENESS if places.scaling and modality.scaled else 0
    pair = _triton(modality, place, dtype, places, cores), _front(modality, place, dtype, places)
    triton, front = (replace(_traced(process, places), niceness=niceness) for process in pair)
    return triton, front


def _traced(process: Process, places: Places) -> Process:
    """The same process, told where its spans go."""
    return replace(process, env={**process.env, OTLP_SETTING: places.otlp_url})


def _triton(modality: Modality, place: Slot, dtype: Dtype, places: Places, cores: int) -> Process:
    threads = cores if modality.all_cores and not places.simulation else 1
    simulation = {"TRICHORD_MODEL_SIMULATION": str(places.simulation)} if places.simulation else {}
    # The number first: no replica's prefix may begin another's.
    prefix = f"{places.shm_prefix}{place.number}-{modality.service}-"
    command = runtime.command(
        places.triton,
        places.repositories / modality.service,
        grpc_port=place.triton_port,
        metrics_port=place.triton_metrics_port,
        shm_prefix=prefix,
        threads=threads,
        service=f"{modality.service}-triton",
        otlp_url=places.otlp_url,
        model_env={
            "TRICHORD_MODEL_CHECKPOINT": str(places.checkpoint),
            "TRICHORD_MODEL_DTYPE": dtype,
            "TRICHORD_MODEL_THREADS": str(threads),
            "TRICHORD_MODEL_BACKEND": places.backend,
            **simulation,
        },
    )
    return Process(
        name=f"{place.name}-triton",
        title=f"{place.name}'s Triton",
        argv=command.argv,
        env=command.env,
        port=place.triton_port,
        readiness="triton",
        tier=0,
        start_timeout_s=_TRITON_START_S,
        stop_timeout_s=_TRITON_STOP_S,
        metrics_port=place.triton_metrics_port,
        shm_prefix=prefix,
    )


def _store(store: Store, port: int, stores: Stores) -> Process:
    return Process(
        name=store.name,
        title=store.title,
        argv=tuple(stores.argv(store)),
        env={"OMP_NUM_THREADS": "1"},
        port=port + store.port_offset,
        readiness="redis",
        tier=0,
        start_timeout_s=_STORE_START_S,
        stop_timeout_s=_STORE_STOP_S,
    )


def _traces(port: int) -> Process:
    """Ready long before the models are, and there until the services have told their last."""
    return Process(
        name="traces",
        title="the keeper of traces",
        argv=(sys.executable, "-m", "local_cluster.traces"),
        env={"TRICHORD_TRACES_PORT": str(port + TRACES_PORT_OFFSET), "OMP_NUM_THREADS": "1"},
        port=port + TRACES_PORT_OFFSET,
        readiness="http",
        tier=0,
        start_timeout_s=_TRACES_START_S,
        stop_timeout_s=_TRACES_STOP_S,
    )


def _front(modality: Modality, place: Slot, dtype: Dtype, places: Places) -> Process:
    settings = {
        "CHECKPOINT": str(places.checkpoint),
        "TRITON": address(place.triton_port),
        "TRITON_METRICS": f"http://{address(place.triton_metrics_port)}/metrics",
        "DTYPE": dtype,
        "BACKEND": places.backend,
    }
    if places.scaling and modality.scaled:
        settings["DRAIN_TIMEOUT_S"] = str(REPLICA_DRAIN_S)
    return service(place.name, modality.package, modality.setting, place.port, place.metrics_port, settings, 1)


def _gateway(port: int, places: Places) -> Process:
    targets = _targets(port, places.scaling)
    gateway = service("gateway", "gateway", "GATEWAY", port, port + _GATEWAY_METRICS_PORT, targets, 2)
    http_port = port + HTTP_PORT_OFFSET
    http = {"TRICHORD_HTTP_LISTEN": address(http_port), "TRICHORD_HTTP_DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S)}
    env = {**gateway.env, **http, **places.stores.gateway_settings(port)}
    if places.keeps_traces:
        env["TRICHORD_HTTP_TRACES_URL"] = f"{places.otlp_url}/traces/{{trace_id}}"
    if places.scaling:
        env |= {"TRICHORD_WAKING_AUTOSCALED": "true", "TRICHORD_WAKING_STARTUP_S": str(_STARTUP_S)}
    if places.jobs:
        env |= places.jobs.gateway_settings(port)
    return _traced(replace(gateway, env=env, http_port=http_port), places)


def _targets(port: int, scaling: Scaling | None) -> dict[str, str]:
    """Where the gateway finds each service, by the name of its setting."""
    return {
        modality.setting: f"file://{scaling.target(modality.service)}"
        if scaling and modality.scaled
        else address(slot(modality, 1, port).port)
        for modality in MODALITIES
    }
