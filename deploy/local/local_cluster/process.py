"""What one process of a cluster is: how it is started, when it is ready, how it ends. Starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Readiness = Literal["health", "alive", "triton", "redis", "http", "kafka"]
"""How a process says that it is ready: gRPC health of the whole server, or that it answers at all; Triton's
ServerReady; an answer to PING, to ``GET /healthz``, or to Kafka's question for versions."""

# Weights are hashed for their fingerprint at the start.
_SERVICE_START_S = 120.0
_SERVICE_STOP_S = 2.5
DRAIN_TIMEOUT_S = 1.5
"""Seconds that our services give calls in progress when the cluster stops."""


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
    niceness: int = 0
    """How far it stands back for the others where cores are short: 0 to 19."""


def service(
    name: str, package: str, prefix: str, port: int, metrics_port: int, settings: Mapping[str, str], tier: int
) -> Process:
    """A service of ours: ``python -m package``, its settings TRICHORD_<prefix>_*."""
    listens = {"LISTEN": address(port), "METRICS_LISTEN": address(metrics_port)}
    common = {**listens, "DRAIN_TIMEOUT_S": str(DRAIN_TIMEOUT_S)}
    env = {f"TRICHORD_{prefix}_{key}": value for key, value in {**common, **settings}.items()}
    return Process(
        name=name,
        title=name,
        argv=(sys.executable, "-m", package),
        # gRPC's core would write lines of its own between ours; what is wrong arrives as a status too.
        env={**env, "OMP_NUM_THREADS": "1", "GRPC_VERBOSITY": "NONE"},
        port=port,
        readiness="health",
        tier=tier,
        start_timeout_s=_SERVICE_START_S,
        stop_timeout_s=_SERVICE_STOP_S,
        metrics_port=metrics_port,
    )


def address(port: int) -> str:
    """A port on loopback, as a gRPC target and as what a server listens on."""
    return f"127.0.0.1:{port}"
