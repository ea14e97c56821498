"""``trichord trace``: the traces that a local cluster keeps, as a list or one as a waterfall. Asks; knows no spans."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from trichord.errors import ClusterError, NotFoundError, RequestError, UnavailableError
from trichord_cli.cluster import DEFAULT_NAME, Name, all_running, running

TIMEOUT_S = 5.0
POLL_S = 0.3
PATIENCE_S = 6.0
"""Seconds to wait for spans that are on their way: processes send theirs once a second."""


def trace(
    key: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="Trace id, the beginning of one, or a request id; none: a list."),
    ] = None,
    text: Annotated[str, typer.Option("--search", help="Only lines with these words.")] = "",
    errors: Annotated[bool, typer.Option("--errors", help="Only traces in which something failed.")] = False,
    min_ms: Annotated[float, typer.Option("--min-ms", min=0, help="Only traces that took so long.")] = 0.0,
    num_traces: Annotated[int, typer.Option("-n", min=1, max=1000, help="Most traces in the list.")] = 20,
    name: Name = DEFAULT_NAME,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show how a request went through every process of the local cluster, or list the latest."""
    from rich.console import Console

    from trichord_cli import trace_view

    address = _address(name)
    if key is None:
        told = _get(address, "", {"text": text, "errors": errors, "min_ms": min_ms, "limit": num_traces})
    else:
        told = _settled(address, key)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    console = Console()
    console.print(
        trace_view.table(told["traces"], console.width) if key is None else trace_view.waterfall(told, console.width)
    )


def command(target: str, trace_id: str) -> str:
    """What shows a trace of the local cluster whose gateway ``target`` is; empty if none keeps it."""
    for name, state in all_running().items():
        if target == f"127.0.0.1:{state.spec.port}" and any(process.name == "traces" for process in state.processes):
            return f"trichord trace {trace_id[:8]}" + (f" --name {name}" if name != DEFAULT_NAME else "")
    return ""


def _address(name: str) -> str:
    """Where a cluster keeps its traces."""
    state = running(name)
    ports = [process.port for process in state.processes if process.name == "traces"]
    if not ports:
        message = f"Cluster {state.spec.name} keeps no traces: TRICHORD_TELEMETRY_OTLP_URL was set when it started."
        raise ClusterError(message)
    return f"127.0.0.1:{ports[0]}"


def _settled(address: str, key: str) -> Any:
    """One trace, once all of it is there, or as much as is when patience ends."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        is_last = time.monotonic() >= end_s
        try:
            told = _get(address, f"/{quote(key, safe='')}", {})
        except NotFoundError:
            if is_last:
                raise
        else:
            if told["is_settled"] or is_last:
                return told
        time.sleep(POLL_S)


def _get(address: str, path: str, params: dict[str, Any]) -> Any:
    import httpx2

    try:
        url = f"http://{address}/api/traces{path}"
        response = httpx2.get(url, params=params, timeout=TIMEOUT_S, trust_env=False)
        told = response.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise UnavailableError("The cluster's traces do not answer. Look at: trichord logs traces") from error
    if response.status_code == httpx2.codes.NOT_FOUND:
        raise NotFoundError(told["error"])
    if not response.is_success:
        raise RequestError(told["error"])
    return told
