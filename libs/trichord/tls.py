"""TLS between processes, and certificates on both sides of it, from files that may be replaced while they are used.

A server looks at its files at every handshake. A channel's certificate is read when the channel is opened (gRPC has no
way to change it in Python), so a client is restarted before its certificate expires. Off unless the files are set.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import grpc
import structlog
from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from trichord.errors import SettingsError
from trichord.settings import Settings

log = structlog.get_logger(__name__)


class TlsSettings(Settings):
    """Environment variables TRICHORD_TLS_*, the same for every process; unset: plaintext."""

    model_config = SettingsConfigDict(env_prefix="TRICHORD_TLS_")

    certificate: Path | None = Field(None, description="PEM file of this process's certificate and its chain.")
    key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    ca: Path | None = Field(
        None, validate_default=True, description="PEM file of the authorities whose certificates are believed."
    )
    require_client: bool = Field(
        True, description="Servers refuse clients without a certificate; off: they ask for none (clients show keys)."
    )
    server_name: str | None = Field(
        None, min_length=1, description="Name that servers' certificates must have; unset: the host that is called."
    )

    @field_validator("ca")
    @classmethod
    def _completes_the_files(cls, ca: Path | None, others: ValidationInfo) -> Path | None:
        files = (others.data.get("certificate"), others.data.get("key"), ca)
        if any(files) and not all(files):
            raise ValueError("certificate, key and ca are set together, or none of them is")
        return ca

    @property
    def is_on(self) -> bool:
        """Whether connections are encrypted."""
        return self.certificate is not None


_Fetcher = Callable[[], grpc.ServerCertificateConfiguration]
"""As types-grpcio has it; None, which leaves the certificate as it is, is missing there."""


class _Pem(NamedTuple):
    ca: bytes
    key: bytes
    certificate: bytes


class _Files:
    """The files that settings name; ``tls`` is on."""

    def __init__(self, tls: TlsSettings) -> None:
        self._paths = tuple(path for path in (tls.ca, tls.key, tls.certificate) if path)
        self._mark: list[tuple[int, int, int]] = []

    def read(self) -> _Pem:
        """What is in them now. Raises SettingsError if one cannot be read or they do not belong together."""
        try:
            mark = self._look()
            _check(*self._paths)
            pem = _Pem(*(path.read_bytes() for path in self._paths))
        except OSError as error:
            raise SettingsError(f"The files of TRICHORD_TLS_* are not good: {error.strerror}.") from error
        self._mark = mark
        return pem

    def have_changed(self) -> bool:
        """Whether they are others than those that were read. Raises OSError."""
        return self._look() != self._mark

    def _look(self) -> list[tuple[int, int, int]]:
        return [(status.st_mtime_ns, status.st_size, status.st_ino) for status in map(Path.stat, self._paths)]


def server_credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    """Credentials of a server; files that change are used from the next handshake on, once they belong together.

    Raises SettingsError if they do not now.
    """
    files = _Files(tls)
    first, fetcher = _configuration(files.read()), cast("_Fetcher", _fetcher(files))
    return grpc.dynamic_ssl_server_credentials(first, fetcher, tls.require_client)


def channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    """Credentials of a client that believes ``tls.ca`` alone and shows its own certificate. Raises SettingsError."""
    pem = _Files(tls).read()
    return grpc.ssl_channel_credentials(pem.ca, pem.key, pem.certificate)


def name_options(tls: TlsSettings) -> list[tuple[str, Any]]:
    """Options of a channel that expects another name than the host it calls."""
    return [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []


def _fetcher(files: _Files) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """What gRPC calls before every handshake."""

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        try:
            return _configuration(files.read()) if files.have_changed() else None
        except (SettingsError, OSError) as error:  # half replaced, perhaps
            log.error("certificates", error=str(error))
            return None

    return fetch


def _configuration(pem: _Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], root_certificates=pem.ca)


def _check(ca: Path, key: Path, certificate: Path) -> None:
    """Raises OSError (ssl.SSLError is one) unless the key is the certificate's: gRPC would only fail handshakes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(ca)
    context.load_cert_chain(certificate, key, password="")  # an encrypted key must not ask on a terminal
