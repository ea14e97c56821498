"""What gateway, job-worker and command line are told of the store and the queue. Knows neither obstore nor Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from trichord.settings import Settings

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"]


class JobsSettings(Settings):
    """Read by all who take part in jobs, and the same for all of them."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_JOBS_")

    store: str = Field(
        "",
        description="Where jobs, files and results are kept: a directory, file:///directory, or s3://bucket/prefix "
        "(credentials and endpoint from AWS_*); unset: there are no jobs.",
    )
    kafka: str = Field(
        "", description="Brokers of the queue, host:port,...; unset: there are no jobs, and no usage events."
    )
    kafka_security_protocol: SecurityProtocol = Field("PLAINTEXT", description="How brokers are spoken to.")
    kafka_sasl_mechanism: SaslMechanism = Field(
        "SCRAM-SHA-512", description="How this process shows who it is, where the protocol has SASL in it."
    )
    kafka_username: str = Field("", description="Name for SASL.")
    kafka_password: SecretStr = Field(SecretStr(""), description="Password for SASL.")
    kafka_ca_file: Path | None = Field(
        None, description="PEM of the authority of brokers' certificates; unset: the system's."
    )

    topic_prefix: str = Field("trichord.", pattern=r"^[a-zA-Z0-9._-]{0,64}$", description="Before the names of topics.")
    partitions: int = Field(
        12, ge=1, le=1000, description="Of each topic of requests: as many workers can take part at most."
    )
    replication: int = Field(
        1,
        ge=1,
        le=10,
        description="Copies of each partition; 3 where there are three brokers: two of them must have a message.",
    )
    retention_hours: int = Field(
        192, ge=1, le=8760, description="Hours that messages are kept: a day more than the longest deadline of a job."
    )
    max_queued_messages: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Messages that wait in a process for the queue to take them; more are refused.",
    )
    send_timeout_s: float = Field(
        10.0, ge=0.1, le=120, description="Seconds in which the queue must have taken a message; then it is away."
    )
    session_timeout_s: float = Field(
        20.0,
        ge=1,
        le=300,
        description="Seconds without a heartbeat after which a worker's messages go to others. The embedded broker "
        "takes half of it to let a first worker in; Kafka's own wants 6 at least.",
    )

    inline_item_bytes: int = Field(
        65_536,
        ge=0,
        le=65_536,
        description="Largest item in bytes that travels in its message; larger ones are read from the store.",
    )
    max_items: int = Field(50_000, ge=1, le=50_000, description="Most items of a job; the OpenAI API allows as many.")
    max_item_bytes: int = Field(
        33_554_432, ge=1024, le=67_108_864, description="Largest item in bytes, media included: 32 MiB."
    )
    max_job_bytes: int = Field(
        4_294_967_296, ge=1024, description="Largest job in bytes, all of its items together: 4 GiB."
    )
    max_file_bytes: int = Field(
        200_000_000, ge=1024, description="Largest file of the OpenAI API in bytes: 200 MB, as there."
    )
    max_tenant_file_bytes: int = Field(
        10_000_000_000, ge=1024, description="Bytes of a tenant's files beyond which it may add none: 10 GB."
    )
    max_deadline_hours: int = Field(168, ge=1, le=720, description="Longest that a job may take: 7 days.")
    default_deadline_hours: int = Field(24, ge=1, le=720, description="Deadline of a job that names none.")
    result_days: int = Field(30, ge=1, le=3650, description="Days that a job and its results are kept after its end.")
    redelivery_s: float = Field(
        60.0, ge=1, le=3600, description="Seconds without any result of a job after which its items are queued again."
    )

    @property
    def are_on(self) -> bool:
        """Whether there are jobs here: both a store and a queue."""
        return bool(self.store and self.kafka)
