"""How a command reaches the gateway: its options, and the client that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trichord.client import SyncOmniClient

DEFAULT_TARGET = "127.0.0.1:7400"

Target = Annotated[str, typer.Option(help="host:port of the gateway.")]
ApiKey = Annotated[str | None, typer.Option(envvar="TRICHORD_API_KEY", help="Where the gateway asks for one.")]
Ca = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of the authorities to believe: the gateway speaks TLS.")
]


def option_of(target: str) -> str:
    """What a command that a person is told of must say to reach the same gateway, after a space; or nothing."""
    return "" if target == DEFAULT_TARGET else f" --target {target}"


def connect(target: str, api_key: str | None, ca: Path | None) -> SyncOmniClient:
    """A client; use it as a context manager."""
    from trichord import client

    return client.SyncOmniClient(target, api_key=api_key, tls=client.Tls(ca) if ca else None)
