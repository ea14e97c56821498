"""Which processes make up a cluster: how each is started, when it is ready, and in which order they come and go.

Pure: reads no file and starts nothing. All numbers that divide one machine's cores among the processes are here.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from local_cluster.stores import Store, Stores
from trichord.model_config import Dtype
from trichord.settings import Backend
from trichord.triton import runtime

Readiness = Literal["health", "triton", "redis"]
"""How a process says that it is ready: gRPC health of the whole server, Triton's ServerReady, or an answer to PING."""

DEFAULT_PORT = 7400
# Billions of weights are read from a cold disk in the first, and hashed for their fingerprint in the second.
_TRITON_START_S, _SERVICE_START_S = 300.0, 120.0
_STORE_START_S, _STORE_STOP_S = 20.0, 1.0
DRAIN_TIMEOUT_S = 1.5
"""Seconds that our services give calls in progress when the cluster stops."""
_SERVICE_STOP_S = 2.5
_TRITON_STOP_S = runtime.EXIT_TIMEOUT_S + 2.0

# Offsets to the cluster's port.
HTTP_PORT_OFFSET = 4
_TRITON_PORTS, _METRICS_PORTS = 10, 20
_LOOPBACK = "127.0.0.1"


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
        DEFAULT_PORT, ge=1024, le=65500, description="The gateway's; the other processes take some of the next 23."
    )


@dataclass(frozen=True)
class Process:
    """One process of a cluster."""

    name: str
    title: str
    """What people call it: ``llm-decoder's Triton``."""
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Variables beyond the supervisor's own."""
    port: int
    """That it serves on, on loopback."""
    readiness: Readiness
    tier: int
    """Processes of a lower tier are ready before this one starts, and are stopped after it."""
    start_timeout_s: float
    """Seconds that it may take to be ready."""
    stop_timeout_s: float
    """Seconds between SIGTERM and SIGKILL."""
    http_port: int = 0
    """Of its HTTP server, on loopback; 0 if it has none."""
    metrics_port: int = 0
    """Of its metrics page, on loopback; 0 if it has none."""
    shm_prefix: str = ""
    """What the names of its /dev/shm regions begin with; empty if it has none."""


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


# Two cores, three models: a decode step is on the path of every token, encoders run beside it. Oversubscribed OpenMP
# threads run at a tenth of their speed, so only one of the three may take all cores.
MODALITIES = (
    Modality("vision-encoder", "vision_encoder", "VISION", 1, all_cores=False),
    Modality("audio-encoder", "audio_encoder", "AUDIO", 2, all_cores=False),
    Modality("llm-decoder", "llm_decoder", "DECODER", 3, all_cores=True),
)


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

    @property
    def backend(self) -> Backend:
        """How the models answer."""
        return "simulated" if self.simulation else "torch"


def shm_prefix(run: Path) -> str:
    """The prefix of the cluster whose run directory this is: the same each time it starts, and no other cluster's."""
    return f"trichord-{hashlib.sha256(str(run).encode()).hexdigest()[:12]}-"


def processes(port: int, dtype: Dtype, places: Places, cores: int) -> list[Process]:
    """Every process of a cluster whose gateway listens on ``port``, in the order in which they start."""
    tritons = [_triton(modality, port, dtype, places, cores) for modality in MODALITIES]
    fronts = [_front(modality, port, dtype, places) for modality in MODALITIES]
    stores = [_store(store, port, places.stores) for store in places.stores.started]
    return [*tritons, *stores, *fronts, _gateway(port, places.stores)]


def ports(processes: Iterable[Process]) -> dict[int, str]:
    """Every port that ``processes`` listen on, and the title of the one that does."""
    return {
        port: process.title
        for process in processes
        for port in (process.port, process.http_port, process.metrics_port)
        if port
    }


def _triton(modality: Modality, port: int, dtype: Dtype, places: Places, cores: int) -> Process:
    threads = cores if modality.all_cores and not places.simulation else 1
    simulation = {"TRICHORD_MODEL_SIMULATION": str(places.simulation)} if places.simulation else {}
    prefix = f"{places.shm_prefix}{modality.service}-"
    grpc_port = port + _TRITON_PORTS + modality.port_offset
    metrics_port = port + _METRICS_PORTS + modality.port_offset
    command = runtime.command(
        places.triton,
        places.repositories / modality.service,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        shm_prefix=prefix,
        threads=threads,
        model_env={
            "TRICHORD_MODEL_CHECKPOINT": str(places.checkpoint),
            "TRICHORD_MODEL_DTYPE": dtype,
            "TRICHORD_MODEL_THREADS": str(threads),
            "TRICHORD_MODEL_BACKEND": places.backend,
            **simulation,
        },
    )
    return Process(
        name=f"{modality.service}-triton",
        title=f"{modality.service}'s Triton",
        argv=command.argv,
        env=command.env,
        port=grpc_port,
        readiness="triton",
        tier=0,
        start_timeout_s=_TRITON_START_S,
        stop_timeout_s=_TRITON_STOP_S,
        metrics_port=metrics_port,
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


def _front(modality: Modality, port: int, dtype: Dtype, places: Places) -> Process:
    settings = {
        "CHECKPOINT": str(places.checkpoint),
        "TRITON": _address(port + _TRITON_PORTS + modality.port_offset),
        "DTYPE": dtype,
        "BACKEND": places.backend,
    }
    return _service(modality.service, modality.package, modality.setting, port + modality.port_offset, settings, 1)


def _gateway(port: int, stores: Stores) -> Process:
    fronts = {modality.setting: _address(port + modality.port_offset) for modality in MODALITIES}
    gateway = _service("gateway", "gateway", "GATEWAY", port, fronts, 2)
    http_port = port + HTTP_PORT_OFFSET
    http = {"TRICHORD_HTTP_LISTEN": _address(http_port), "TRICHORD_HTTP_DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S)}
    return replace(gateway, env={**gateway.env, **http, **stores.gateway_settings(port)}, http_port=http_port)


def _service(name: str, package: str, prefix: str, port: int, settings: Mapping[str, str], tier: int) -> Process:
    common = {"LISTEN": _address(port), "DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S)}
    env = {f"TRICHORD_{prefix}_{key}": value for key, value in {**common, **settings}.items()}
    return Process(
        name=name,
        title=name,
        argv=(sys.executable, "-m", package),
        env={**env, "OMP_NUM_THREADS": "1"},
        port=port,
        readiness="health",
        tier=tier,
        start_timeout_s=_SERVICE_START_S,
        stop_timeout_s=_SERVICE_STOP_S,
    )


def _address(port: int) -> str:
    return f"{_LOOPBACK}:{port}"
