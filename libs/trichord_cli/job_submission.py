"""A file handed over as a job: what is wrong with its lines is told on stderr, one by one.

A line is checked here as /v1/batches does; what only the gateway can know of it, such as whether it fetches addresses,
it refuses while it takes the job.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trichord.errors import ForbiddenError, TrichordError, UnavailableError

if TYPE_CHECKING:
    from rich.status import Status

    from trichord.client import SyncOmniClient
    from trichord.client.sync_jobs import SyncJobs
    from trichord.v1 import jobs_pb2
    from trichord_cli.job_file import JobFile

MAX_REFUSED = 100
"""Lines that the gateway may refuse before it is asked no more."""

_PLACE = re.compile(r"items\[([0-9]+)\]\.?(?:request\.)?(.*)")


def read(file: Path, client: SyncOmniClient) -> JobFile:
    """Checks every line. Raises OSError if the file cannot be read."""
    from trichord.jobs.settings import JobsSettings
    from trichord_cli.job_file import JobFile

    with _busy(f"Checking the lines of {file}"):
        requests = JobFile(file, JobsSettings.from_environment(), _served(client))
    for error in requests.errors:
        _tell(requests, error["line"], error["param"], error["message"])
    if more := requests.num_wrong - len(requests.errors):
        typer.echo(f"{file}: and {more} more wrong lines", err=True)
    return requests


def hand_over(requests: JobFile, spec: jobs_pb2.JobSpec, jobs: SyncJobs) -> jobs_pb2.Job:
    """Submits what can be; the rest is left out. Exits if that is everything."""
    spec.request_id = spec.request_id or f"sha256:{requests.sha256}"
    spec.metadata["file"] = requests.path.name
    for _ in range(MAX_REFUSED):
        if not requests.is_fit:
            break
        try:
            job = _submitted(requests, spec, jobs)
        except TrichordError as error:
            if (place := _PLACE.fullmatch(error.field)) is None:
                raise
            _tell(requests, requests.leave_out(int(place[1])), place[2], error.message)
        else:
            if requests.num_wrong:
                message = "wrong lines are left out. Mend them in a file of their own: the others are submitted."
                typer.echo(f"{requests.num_wrong} {message}", err=True)
            return job
    typer.echo("Nothing was submitted.", err=True)
    raise typer.Exit(1)


def _submitted(requests: JobFile, spec: jobs_pb2.JobSpec, jobs: SyncJobs) -> jobs_pb2.Job:
    with _busy(f"Handing over {len(requests)} requests"):
        return jobs.submit(requests, spec)


def _served(client: SyncOmniClient) -> str:
    """The model that requests may name; empty if nobody tells, and the answers will."""
    try:
        return client.model().model
    except (UnavailableError, ForbiddenError):
        return ""


def _tell(requests: JobFile, line: int | None, param: str | None, message: str) -> None:
    place = f"{requests.path}:{line}" if line else str(requests.path)
    # Many messages begin with the last part of the path.
    head, _, rest = message.partition(": ")
    told = rest if param and param.endswith(head) else message
    typer.echo(": ".join(filter(None, (place, param, told))), err=True)


def _busy(what: str) -> Status:
    """Says so on stderr meanwhile, if that is a terminal."""
    from rich.console import Console

    return Console(stderr=True).status(what)
