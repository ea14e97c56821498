"""``trichord triton``: the embedded Triton server. Edge only; the work is ``trichord.triton.runtime``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from trichord.triton.runtime import Triton

app = typer.Typer(help="The embedded Triton server.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The embedded Triton server."""


@app.command()
def install() -> None:
    """Get NVIDIA Triton Inference Server (55 MB); nothing happens if it is there. Prints its program's path."""
    typer.echo(ensure().binary)


def ensure() -> Triton:
    """The server, got first if it is not there; says so on stderr meanwhile. Raises ClusterError."""
    from rich.console import Console

    from trichord.home import home
    from trichord.triton import runtime

    if triton := runtime.find(home()):
        return triton
    with Console(stderr=True).status("Getting NVIDIA Triton Inference Server (55 MB, once)"):
        return runtime.install(home())
