"""Channels to the gateway, and what every call carries: limits, keepalive, TLS, the caller's key."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from trichord import request_id
from trichord.errors import RequestError, SettingsError, TrichordError, UnavailableError
from trichord.server import client_options
from trichord.status import from_rpc_error
from trichord.telemetry import spans
from trichord.v1 import gateway_pb2

CHAT_TIMEOUT_S = 300.0
"""Of calls that wait for a model: the gateway's own bound, unless its operator changed it."""
CALL_TIMEOUT_S = 60.0
WATCH_TIMEOUT_S = 7 * 24 * 3600.0
"""As long as a job may take."""

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Tls:
    """How a connection is encrypted; ``Tls()`` believes the authorities that gRPC ships with."""

    ca: Path | None = None
    """PEM file of the authorities to believe instead."""
    certificate: Path | None = None
    """PEM file of the client's own certificate and its chain, where the gateway asks for one (mTLS)."""
    key: Path | None = None
    """PEM file of that certificate's private key."""
    server_name: str | None = None
    """Name that the gateway's certificate must have; None: the host that is called."""

    def credentials(self) -> grpc.ChannelCredentials:
        """What gRPC wants, read now. Raises SettingsError if the files are not good or do not belong together."""
        try:
            self._check()
            files = [path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate)]
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"The TLS files are not good: {error.strerror or 'not PEM'}.") from error
        return grpc.ssl_channel_credentials(*files)

    def _check(self) -> None:
        """Raises OSError for what would only fail handshakes later."""
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("A client's TLS certificate and its key are given together, or neither is.")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca:
            context.load_verify_locations(self.ca)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key, password="")  # must not ask on a terminal


def open_aio(target: str, tls: Tls | None, max_message_bytes: int) -> grpc.aio.Channel:
    """A channel of the asynchronous client."""
    options = _options(tls, max_message_bytes)
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, tls.credentials(), options=options)


def open_sync(target: str, tls: Tls | None, max_message_bytes: int) -> grpc.Channel:
    """A channel of the blocking client."""
    options = _options(tls, max_message_bytes)
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    return grpc.secure_channel(target, tls.credentials(), options=options)


class Caller:
    """Who calls, in the headers of every call."""

    def __init__(self, api_key: str | None) -> None:
        """Raises SettingsError for a key that no header can hold; space around it, as files have it, is dropped."""
        key = (api_key or "").strip()
        if not (key.isascii() and key.isprintable()):  # gRPC's own error would show it
            raise SettingsError("An API key is printable ASCII. Check where it was read from.")
        self._shown: Metadata = (("authorization", f"Bearer {key}"),) if key else ()

    def metadata(self, name: str) -> Metadata:
        """The headers of a request, ``name`` its id or empty; the span that it is made in, where there is one.

        Raises RequestError for an id that cannot be sent.
        """
        request_id.check(name)
        if not name.isascii():
            raise RequestError("A request id is ASCII.", field="request_id")
        named = (("x-request-id", name),) if name else ()
        return (*self._shown, *named, *spans.outbound())


def told(error: grpc.RpcError) -> TrichordError:
    """The error that a call failed with, as this tree's own."""
    call: Any = error  # the error of a failed call is the call as well, in both of gRPC's clients
    return from_rpc_error(call, "gateway")


def check_complete(last: gateway_pb2.ChatResponse) -> None:
    """Raises UnavailableError unless ``last`` is the last event that an answer has."""
    if not last.HasField("finished"):
        raise UnavailableError("The gateway ended the answer early. Try again.", retry_after_s=1.0)


def _options(tls: Tls | None, max_message_bytes: int) -> list[tuple[str, Any]]:
    name = tls.server_name if tls else None
    return [*client_options(max_message_bytes), *([("grpc.ssl_target_name_override", name)] if name else ())]
