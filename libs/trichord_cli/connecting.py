"""How a command reaches the gateway: the options that say where it is, and what it believes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_TARGET = "127.0.0.1:7400"

Target = Annotated[str, typer.Option(help="host:port of the gateway.")]
ApiKey = Annotated[str | None, typer.Option(envvar="TRICHORD_API_KEY", help="Where the gateway asks for one.")]
Ca = Annotated[
    Path | None, typer.Option("--ca", help="PEM file of the authorities to believe: the gateway speaks TLS.")
]
