"""``trichord triton``: the embedded Triton server, and model repositories for others. Edge only.

The work is ``trichord.triton``'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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


@app.command()
def render(
    package: Annotated[str, typer.Argument(help="Whose models: vision_encoder, audio_encoder or llm_decoder.")],
    to: Annotated[Path, typer.Argument(help="Model repository to make; what is there is replaced.")],
    checkpoint: Annotated[Path, typer.Option(help="Directory of the checkpoint that will be served.")],
    dtype: Annotated[
        Literal["bfloat16", "float32"] | None, typer.Option(help="By default the checkpoint's own.")
    ] = None,
) -> None:
    """Write a service's model repository for a Triton that somebody else starts."""
    from trichord.checkpoint.staging import locked, staged
    from trichord.model_config import ModelConfig
    from trichord.triton import repository

    chosen = dtype or ModelConfig.read(checkpoint).dtype
    with locked(to), staged(to) as fresh:
        repository.render(repository.model_repository(package), fresh, chosen)
    typer.echo(to)


def ensure() -> Triton:
    """The server, got first if it is not there; says so on stderr meanwhile. Raises ClusterError."""
    from rich.console import Console

    from trichord.home import home
    from trichord.triton import runtime

    if triton := runtime.find(home()):
        return triton
    with Console(stderr=True).status("Getting NVIDIA Triton Inference Server (55 MB, once)"):
        return runtime.install(home())
