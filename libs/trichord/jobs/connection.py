"""How brokers are reached: what producer, consumer and admin client are all told."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from kafka.errors import KafkaError

from trichord.errors import SettingsError, UnavailableError
from trichord.jobs.settings import JobsSettings

log = structlog.get_logger(__name__)

C = TypeVar("C")
logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it tells of each attempt; we tell of what came of them

BOOTSTRAP_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 10.0
MAX_RECONNECT_S = 2.0
"""A broker that is back is found again so soon."""


def client_options(settings: JobsSettings, name: str) -> dict[str, Any]:
    """Options of every client of kafka-python. ``name``: what brokers' logs call it.

    Raises SettingsError if there are no brokers, or the authority's certificate cannot be read.
    """
    if not settings.kafka:
        raise SettingsError("TRICHORD_JOBS_KAFKA is not set: there is no queue.")
    return {
        "bootstrap_servers": [server.strip() for server in settings.kafka.split(",")],
        "client_id": name,
        "bootstrap_timeout_ms": int(min(BOOTSTRAP_TIMEOUT_S, settings.send_timeout_s) * 1e3),
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1e3),
        "reconnect_backoff_max_ms": int(MAX_RECONNECT_S * 1e3),
        **_security(settings),
    }


def connect(kind: type[C], options: Mapping[str, Any]) -> C:
    """A client of kafka-python that reached a broker. Raises what its constructor does, and leaves nothing behind.

    That by itself leaves a thread and its connections for each time that it fails: one a second while brokers are away.
    """
    client: Any = kind.__new__(kind)
    try:
        client.__init__(**options)
    except BaseException:
        if hasattr(client, "_net"):
            client._client.close()
            client._net.stop()
        raise
    made: C = client
    return made


def _security(settings: JobsSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _tls(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


def _tls(settings: JobsSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except OSError as error:
        raise SettingsError("TRICHORD_JOBS_KAFKA_CA_FILE is no file of certificates in PEM.") from error


@contextmanager
def told_as_unavailable() -> Iterator[None]:
    """What Kafka's client raises becomes UnavailableError: its own text holds addresses."""
    try:
        yield
    except (KafkaError, OSError) as error:
        log.warning("the queue is away", error=type(error).__name__)
        raise away() from error


def away() -> UnavailableError:
    """The queue does not answer."""
    return UnavailableError("The queue does not answer. Try again.", retry_after_s=5.0)
