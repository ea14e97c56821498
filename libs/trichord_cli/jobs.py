"""``trichord jobs``: a file of requests handed over as a job, watched, and its results fetched.

Ids, results and JSON go to stdout, everything about them to stderr. Edge only: the work is ``trichord.client``'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trichord_cli import dead_letters, job_submission
from trichord_cli.connecting import DEFAULT_TARGET, ApiKey, Ca, Target, connect, option_of

if TYPE_CHECKING:
    from trichord.client.sync_jobs import SyncJobs
    from trichord.v1 import jobs_pb2

app = typer.Typer(help="Many requests at once, for whose answers nobody waits.", no_args_is_help=True)
app.add_typer(dead_letters.app, name="dlq")

JobId = Annotated[str, typer.Argument(help="As `trichord jobs submit` and `list` tell it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]

_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class PriorityName(StrEnum):
    """Who goes first among jobs."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Lines of the OpenAI Batch API.")],
    watches: Annotated[bool, typer.Option("--watch", help="Show how it goes, until it has ended.")] = False,
    only_checks: Annotated[bool, typer.Option("--dry-run", help="Check every line, and submit nothing.")] = False,
    request_id: Annotated[
        str | None,
        typer.Option(help="The same id is the same job. Default: the file's SHA-256, so that it runs once."),
    ] = None,
    priority: Annotated[PriorityName, typer.Option(help="Among jobs; all give way to live requests.")] = (
        PriorityName.NORMAL
    ),
    deadline: Annotated[
        str | None, typer.Option(help="What is not answered so soon expires, e.g. 90m, 24h, 7d; default 24h.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
    ca: Ca = None,
) -> None:
    """Hand over a file of requests, and print the job's id. Wrong lines are told, and left out.

    Submitted again, the same file is the same job: whoever was interrupted does just that.
    """
    wanted = _spec(request_id, priority, deadline)
    with connect(target, api_key, ca) as client:
        requests = job_submission.read(file, client)
        if only_checks:
            typer.echo(f"{len(requests)} requests, {requests.num_wrong} wrong lines", err=True)
            raise typer.Exit(0 if requests.is_fit and not requests.num_wrong else 1)
        job = job_submission.hand_over(requests, wanted, client.jobs)
        typer.echo(job.id)
        if watches:
            _watch(client.jobs, job.id, target)
            raise typer.Exit(1 if requests.num_wrong else 0)


@app.command()
def get(
    job_id: JobId, as_json: AsJson = False, target: Target = DEFAULT_TARGET, api_key: ApiKey = None, ca: Ca = None
) -> None:
    """Tell how a job stands."""
    with connect(target, api_key, ca) as client:
        _print([client.jobs.get(job_id)], as_json)


@app.command("list")
def list_jobs(
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, help="Most to tell.")] = 20,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
    ca: Ca = None,
) -> None:
    """List jobs, newest first."""
    from itertools import islice

    with connect(target, api_key, ca) as client:
        if not _print(islice(client.jobs.list(), limit), as_json):
            typer.echo("There are no jobs.", err=True)


@app.command()
def cancel(job_id: JobId, target: Target = DEFAULT_TARGET, api_key: ApiKey = None, ca: Ca = None) -> None:
    """End a job early: results stay, what has not begun never does."""
    with connect(target, api_key, ca) as client:
        _print([client.jobs.cancel(job_id)], as_json=False)


@app.command()
def watch(job_id: JobId, target: Target = DEFAULT_TARGET, api_key: ApiKey = None, ca: Ca = None) -> None:
    """Show how a job goes, until it has ended. Exit status 1 if anything in it was not answered."""
    with connect(target, api_key, ca) as client:
        _watch(client.jobs, job_id, target)


@app.command()
def results(job_id: JobId, target: Target = DEFAULT_TARGET, api_key: ApiKey = None, ca: Ca = None) -> None:
    """Print the results that there are, as lines of the OpenAI Batch API's output."""
    from gateway.openai_http import batch_output

    with connect(target, api_key, ca) as client:
        for result in client.jobs.results(job_id):
            typer.echo(json.dumps(batch_output.line(result, job_id), ensure_ascii=False))


def _spec(request_id: str | None, priority: PriorityName, deadline: str | None) -> jobs_pb2.JobSpec:
    from trichord.v1 import jobs_pb2

    spec = jobs_pb2.JobSpec(request_id=request_id or "", priority=f"JOB_PRIORITY_{priority.name}")
    if deadline is not None:
        spec.deadline.FromDatetime(datetime.now(UTC) + _duration(deadline))
    return spec


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is not minutes, hours or days, such as 90m, 24h or 7d.", param_hint="--deadline"
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _watch(jobs: SyncJobs, job_id: str, target: str) -> None:
    try:
        from trichord_cli import jobs_view

        last = jobs_view.show(jobs.watch(job_id))
    except KeyboardInterrupt:
        typer.echo(f"The job goes on. Look again: trichord jobs watch {job_id}{option_of(target)}", err=True)
        raise typer.Exit(130) from None
    all_answered = last.counts.completed == last.counts.total
    title = "Answers" if all_answered else "Answers, and why others have none"
    typer.echo(jobs_view.line(last), err=True)
    typer.echo(f"{title}: trichord jobs results {job_id}{option_of(target)}", err=True)
    if not all_answered:
        raise typer.Exit(1)


def _print(jobs: Iterable[jobs_pb2.Job], as_json: bool) -> int:
    """How many there were."""
    from google.protobuf.json_format import MessageToJson

    from trichord_cli import jobs_view

    told = (
        MessageToJson(job, preserving_proto_field_name=True, indent=None) if as_json else jobs_view.line(job)
        for job in jobs
    )
    return sum(1 for _ in map(typer.echo, told))
