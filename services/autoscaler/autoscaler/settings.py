"""What the autoscaler is told by its environment; the rules of scaling are in a file of their own (rules.py)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from trichord.settings import ServiceSettings


class AutoscalerSettings(ServiceSettings):
    """Environment variables TRICHORD_AUTOSCALER_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_AUTOSCALER_")

    mode: Literal["keda", "kubernetes", "local"] = Field(
        "keda",
        description="Who makes replicas: KEDA, which asks over gRPC; Kubernetes, which is told directly; or the "
        "supervisor of a local cluster. Never two of them for the same Deployments.",
    )
    state_url: SecretStr = Field(description="The Redis that gateways publish their demands in.")
    rules: Path | None = Field(None, description="YAML of how each modality is scaled; unset: the shipped defaults.")
    interval_s: float = Field(
        1.0, gt=0, le=60, description="Seconds between decisions; notices of sleepers come between."
    )
    admin_listen: str = Field(
        "127.0.0.1:0", description="host:port of the HTTP page that explains decisions; port 0 takes a free one."
    )
    target_prefix: str = Field("", description="Before a service's name in its Deployment's: the release's name and -.")
    namespace: str | None = Field(None, min_length=1, description="Of the Deployments; unset: this pod's own.")
    lease: str = Field("trichord-autoscaler", description="Name of the Lease that the one that acts holds.")
    lease_s: float = Field(15.0, ge=1, le=600, description="Seconds without renewal after which another may take it.")
    identity: str = Field(
        default_factory=socket.gethostname, description="Who holds the Lease; unique: the pod's name."
    )
    control_socket: Path | None = Field(None, description="Unix socket of a local cluster's supervisor (mode local).")
