"""Settings: read once from the environment, checked, frozen.

Each service has one class that extends ``ServiceSettings`` with an ``env_prefix`` of its own; every field carries its
meaning, unit and reason for the default as its description. Knows no service.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trichord.errors import SettingsError
from trichord.model_config import Dtype

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Largest gRPC message on every hop, both ways, in bytes: 4 096 embedding rows of 2 560 float32 are 40 MiB."""


Backend = Literal["torch", "simulated"]
"""How a model inside Triton answers: it computes, or it waits as long as it would and answers something seeded."""


class Settings(BaseSettings):
    """Base: frozen, strict, read by ``from_environment``."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_environment(cls) -> Self:
        """Reads the environment. Raises SettingsError naming the variable: a bad or unknown one stops the process."""
        prefix = str(cls.model_config["env_prefix"])
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        for variable in os.environ:
            if variable.upper().startswith(prefix) and variable.upper() not in known:
                raise SettingsError(f"{variable} is not a setting of this service. Known: {', '.join(sorted(known))}.")
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("; ".join(_sentence(prefix, e) for e in error.errors())) from error


class ServiceSettings(Settings):
    """What every gRPC service of ours is told."""

    listen: str = Field("127.0.0.1:0", description="host:port to serve on; port 0 takes a free one.")
    health_listen: str = Field(
        "", description="host:port of a second server, of health alone and without TLS, for probes; unset: none."
    )
    metrics_listen: str = Field("", description="host:port that answers GET /metrics over HTTP; unset: none.")
    max_message_bytes: int = Field(
        MAX_MESSAGE_BYTES, gt=0, lt=1 << 31, description="Largest gRPC message in bytes, both ways."
    )
    max_concurrent_rpcs: int = Field(
        256,
        gt=0,
        le=100_000,
        description="Calls in progress at once, health checks aside; more get RESOURCE_EXHAUSTED.",
    )
    reflection: bool = Field(True, description="Answer gRPC reflection. Turn off where the contract is a secret.")
    drain_notice_s: float = Field(
        0.0, ge=0, description="Seconds between failing health and refusing calls: what endpoints need to learn of it."
    )
    drain_timeout_s: float = Field(5.0, ge=0, description="Seconds that calls in progress have to finish on SIGTERM.")
    default_deadline_s: float = Field(
        300.0, gt=0, description="Deadline in seconds of a call whose caller set none; also the longest allowed."
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level to log.")


class FrontSettings(ServiceSettings):
    """What a front is told of the model beside it."""

    checkpoint: Path = Field(description="Directory of the checkpoint: its config, and what fingerprints are over.")
    triton: str = Field(description="gRPC target of this pod's Triton, host:port.")
    triton_metrics: str = Field(
        "",
        pattern=r"^(http://.+)?$",
        description="URL of this pod's Triton's metrics, which the front's own page then carries too; unset: none.",
    )
    dtype: Dtype | None = Field(None, description="Type that Triton runs in; unset: the checkpoint's own.")
    backend: Backend = Field("torch", description="How the model in Triton answers; both are told the same.")


_SECRETS = ("SECRET", "_URL", "PASSWORD")
"""In names of settings whose values are never shown: a URL may hold a password."""


def _sentence(prefix: str, error: object) -> str:
    assert isinstance(error, dict), "pydantic lists errors as dicts"
    name = prefix + "_".join(str(part) for part in error["loc"]).upper()
    if error["type"] == "missing":
        return f"{name} is not set"
    shown = "..." if any(word in name for word in _SECRETS) else repr(error["input"])
    return f"{name}={shown}: {error['msg']}"


class ModelSettings(Settings):
    """What a model inside Triton is told; the three adapters (model.py) share it."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_MODEL_")

    checkpoint: Path = Field(description="Directory of the checkpoint.")
    dtype: Dtype | None = Field(None, description="Type to run in; unset: the checkpoint's own.")
    threads: int = Field(1, ge=1, le=256, description="CPU threads of torch; oversubscribed cores run at a tenth.")
    backend: Backend = Field("torch", description="Whether to compute, or to wait and answer something seeded.")
    simulation: Path | None = Field(
        None, description="YAML of how long a simulated model takes (trichord.simulation.profile); unset: the default."
    )
