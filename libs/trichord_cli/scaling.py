"""``trichord scaling``: why each modality has the replicas it has. Asks a running autoscaler; decides nothing."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from trichord.errors import RequestError, UnavailableError

app = typer.Typer(help="Why each modality has the replicas it has.", no_args_is_help=True)

TIMEOUT_S = 5.0
LOCAL_ADDRESS = "127.0.0.1:7406"
"""Of a local cluster at its default port."""


@app.callback()
def scaling() -> None:
    """Why each modality has the replicas it has."""


@app.command()
def explain(
    modality: Annotated[str | None, typer.Option(help="Only vision, audio, decoder, gateway or worker.")] = None,
    address: Annotated[
        str, typer.Option(envvar="TRICHORD_AUTOSCALER_ADMIN", help="host:port of the autoscaler's admin page.")
    ] = LOCAL_ADDRESS,
    num_changes: Annotated[int, typer.Option("--changes", min=0, help="How many of the last changes to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Shows replicas now and wanted, what that rests on, and why."""
    from rich.console import Console

    from trichord_cli import scaling_view

    told = _ask(address, modality)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    console = Console()
    console.print(scaling_view.table(told["modalities"]))
    if num_changes and told["changes"]:
        console.print(scaling_view.changes(told["changes"][:num_changes], time.time()))


def _ask(address: str, modality: str | None) -> Any:
    import httpx2

    params = {"modality": modality} if modality else {}
    try:
        response = httpx2.get(f"http://{address}/scaling", params=params, timeout=TIMEOUT_S, trust_env=False)
        told = response.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        message = f"No autoscaler answers at {address}. Name its admin page with --address."
        raise UnavailableError(message) from error
    if response.status_code == httpx2.codes.BAD_REQUEST:
        raise RequestError(f"{told['error']}.", field="--modality")
    if not response.is_success or "modalities" not in told:
        raise UnavailableError(f"What answers at {address} is no autoscaler.")
    return told
