"""What a worker is told by its environment; where the queue and the store are is told by ``trichord.jobs.settings``."""

from __future__ import annotations

import socket

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from trichord.settings import ServiceSettings


class WorkerSettings(ServiceSettings):
    """Environment variables TRICHORD_WORKER_*."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_WORKER_")

    gateway: str = Field(description="gRPC target of the gateway that answers the items.")
    key: SecretStr | None = Field(
        None, description="API key with the scope work; unset: none, for a gateway that asks nobody for one."
    )
    concurrency: int = Field(4, ge=1, le=1024, description="Items in progress at once.")
    image_share: float = Field(
        0.5, gt=0, le=1, description="Fraction of the items in progress that may hold images, one at least."
    )
    audio_share: float = Field(
        0.5, gt=0, le=1, description="Fraction of the items in progress that may hold sound, one at least."
    )
    max_attempts: int = Field(
        5, ge=1, le=100, description="Times that an item may fail for reasons of its own before it is given up."
    )
    call_timeout_s: float = Field(
        300.0, gt=0, description="Seconds that the gateway has for one item; it allows no more than its own bound."
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        pattern=r"^[A-Za-z0-9._-]{0,200}$",
        description="Names this worker among those of its group: started again under it, it goes on at once where it "
        "was (Kafka's static membership). Unique: the pod's name. Empty: it has none, and waits like a new one.",
    )
