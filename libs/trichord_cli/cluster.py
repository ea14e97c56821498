"""``trichord up``, ``down``, ``status`` and ``logs``: the local cluster from a terminal.

Edge only; the work is ``local_cluster``'s. Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trichord.errors import ClusterError
from trichord_cli import triton
from trichord_cli.connecting import option_of

if TYPE_CHECKING:
    from local_cluster.state import ClusterState, RunDirectory
    from local_cluster.topology import ClusterSpec

Name = Annotated[str, typer.Option("--name", help="Which cluster, where several run.")]
DEFAULT_NAME = "default"


def up(
    preset: Annotated[str, typer.Option(help="Name of a checkpoint, or a path (with a slash).")] = "demo",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16; by default the checkpoint's own.")] = None,
    name: Name = DEFAULT_NAME,
    port: Annotated[
        int, typer.Option(help="The gateway's; the other processes take some of the next 23 (--autoscale: more).")
    ] = 7400,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Models only wait, and answer something seeded; no weights are needed.")
    ] = False,
    simulation: Annotated[
        str | None,
        typer.Option(
            help="Simulated, with these latencies: smol-cpu (the default), megrez-3b-omni-h100, or a YAML file."
        ),
    ] = None,
    autoscale: Annotated[
        bool, typer.Option("--autoscale", help="Start no encoder before there is work for it, and more as needed.")
    ] = False,
    max_replicas: Annotated[int, typer.Option(min=1, help="Most replicas of each encoder, with --autoscale.")] = 3,
    rules: Annotated[
        Path | None, typer.Option(help="How they are scaled, with --autoscale: a YAML file for the autoscaler.")
    ] = None,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Take jobs too: a queue, and a worker behind the gateway.")
    ] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and stop the cluster at Ctrl-C.")] = False,
) -> None:
    """Start every service on this machine and wait until they answer."""
    if rules and not autoscale:
        raise typer.BadParameter("it needs --autoscale", param_hint="--rules")
    spec = _spec(
        preset=preset,
        simulation=simulation or ("smol-cpu" if simulated else None),
        name=name,
        dtype=dtype,
        port=port,
        max_replicas=max_replicas if autoscale else 0,
        rules=rules.absolute() if rules else None,
        jobs=jobs,
    )
    directory = _directory(name)
    if (state := directory.read()) and state.running:
        if state.spec != spec:
            raise ClusterError(f"Cluster {name} is already running, differently. Stop it with: trichord down")
        typer.echo(f"Cluster {name} is already {state.phase} on 127.0.0.1:{port}.")
        return
    triton.ensure()
    if jobs:
        _ensure_broker()
    if foreground:
        _run(spec, directory)
        return
    _launch(spec, directory)
    _welcome(spec, directory)


def down(name: Name = DEFAULT_NAME) -> None:
    """Stop the cluster, and clean up after one that was killed. Fine if none runs."""
    from local_cluster.cluster import stop

    typer.echo(f"Cluster {name} is stopped." if stop(_directory(name)) else f"Cluster {name} does not run.")


def status(
    name: Name = DEFAULT_NAME, as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False
) -> None:
    """Tell what runs. Exits with 0 if the cluster is ready, else with 1."""
    from rich.console import Console

    from trichord_cli.cluster_view import as_dict, table

    state = _directory(name).read()
    if as_json:
        typer.echo(json.dumps(as_dict(state), indent=2))
    elif state is None:
        typer.echo(f"Cluster {name} does not run.")
    else:
        Console().print(table(state))
    raise typer.Exit(0 if state and state.running and state.phase == "ready" else 1)


def logs(
    process: Annotated[str | None, typer.Argument(help="Name of a process, or supervisor; by default all.")] = None,
    num_lines: Annotated[int, typer.Option("-n", min=1, help="Last lines of each.")] = 40,
    name: Name = DEFAULT_NAME,
) -> None:
    """Show the last lines of the processes' logs."""
    files = _directory(name).log_files()
    if not files:
        raise ClusterError(f"Cluster {name} has no logs: it was never started.")
    if process is not None and process not in files:
        raise ClusterError(f"There is no log of {process}. There are: {', '.join(files)}.")
    for title, file in files.items():
        if process in (None, title):
            typer.echo(f"==> {title} <==\n" + _tail(file, num_lines))


def all_running() -> dict[str, ClusterState]:
    """The clusters that run, by name."""
    from local_cluster.state import RunDirectory
    from trichord.home import home

    states = {path.name: RunDirectory(home(), path.name).read() for path in (home() / "run").glob("*")}
    return {name: state for name, state in states.items() if state and state.running}


def running(name: str) -> ClusterState:
    """The cluster, or the only one that runs if none was named. Raises ClusterError."""
    found = all_running()
    if name in found:
        return found[name]
    if name != DEFAULT_NAME or not found:
        raise ClusterError(f"Cluster {name} does not run. Start it with: trichord up")
    if len(found) > 1:
        raise ClusterError(f"Several clusters run. Name one with --name: {', '.join(sorted(found))}.")
    return next(iter(found.values()))


def _spec(preset: str, simulation: str | None, **fields: object) -> ClusterSpec:
    from pydantic import ValidationError

    from local_cluster.topology import ClusterSpec
    from trichord.checkpoint.locate import directory_of
    from trichord.simulation.profile import locate

    profile = locate(simulation) if simulation else None
    try:
        return ClusterSpec.model_validate({"checkpoint": directory_of(preset), "simulation": profile, **fields})
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(first["msg"], param_hint=f"--{first['loc'][0]}") from error


def _ensure_broker() -> None:
    """Gets the queue's program, if it is not there and nobody named another queue; says so on stderr meanwhile."""
    from rich.console import Console

    from local_cluster import broker
    from local_cluster.jobs import KAFKA_SETTING
    from trichord.home import home

    if os.environ.get(KAFKA_SETTING) or broker.find(home()):
        return
    with Console(stderr=True).status("Getting a queue that speaks Kafka (15 MB, once)"):
        broker.install(home())


def _directory(name: str) -> RunDirectory:
    from local_cluster.state import RunDirectory
    from trichord.home import home

    return RunDirectory(home(), name)


def _run(spec: ClusterSpec, directory: RunDirectory) -> None:
    from local_cluster.cluster import Cluster
    from trichord.logs import configure
    from trichord_cli.cluster_view import Progress

    configure("supervisor", "warning")
    with Progress() as progress:
        asyncio.run(Cluster(spec, directory, progress.show).run())


def _launch(spec: ClusterSpec, directory: RunDirectory) -> None:
    from local_cluster import cluster, detached
    from trichord_cli.cluster_view import Progress

    try:
        with Progress() as progress:
            for state in detached.launch(spec, directory):
                progress.show(state)
    except KeyboardInterrupt:
        cluster.stop(directory)
        raise


def _welcome(spec: ClusterSpec, directory: RunDirectory) -> None:
    """What can be done with a cluster that has just started."""
    from local_cluster.topology import HTTP_PORT_OFFSET, traces_address

    target = f"127.0.0.1:{spec.port}"
    option = option_of(target)
    ready = "Ready, simulated," if spec.simulation else "Ready"
    typer.echo(f"{ready} on {target}. Ask: trichord chat{option} 'What is the capital of France?'")
    typer.echo(f"Or open http://127.0.0.1:{spec.port + HTTP_PORT_OFFSET}")
    state = directory.read()
    if state and any(process.name == "traces" for process in state.processes):
        typer.echo(f"How each request went: http://{traces_address(spec.port)}/traces, or trichord trace")
    if spec.jobs:
        typer.echo(f"It takes jobs: trichord jobs submit{option} FILE.jsonl --watch")


def _tail(file: Path, num_lines: int) -> str:
    with file.open(errors="replace") as lines:
        return "".join(deque(lines, maxlen=num_lines))
