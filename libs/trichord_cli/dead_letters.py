"""``trichord jobs dlq``: items that were given up, read from the queue itself, and handed over again.

For operators: reads with the TRICHORD_JOBS_* settings of gateway and worker, a local cluster's if there are none.
Nothing is removed from the queue.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trichord.errors import SettingsError
from trichord_cli.cluster import DEFAULT_NAME, Name, all_running, running
from trichord_cli.connecting import DEFAULT_TARGET, ApiKey, Ca, Target, connect

if TYPE_CHECKING:
    from trichord.jobs.settings import JobsSettings
    from trichord.v1 import jobs_pb2
    from trichord_cli.letters import Letter

app = typer.Typer(help="Items that were given up (dead letters).", no_args_is_help=True)

MAX_SHOWN_CHARS = 200
"""Of a string in ``show``: media are long."""

Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")]
OfJob = Annotated[str | None, typer.Option("--job", help="Only those of this job.")]
Ids = Annotated[list[str] | None, typer.Argument(help="As `trichord jobs dlq list` tells them.")]


@app.command("list")
def list_letters(
    limit: Limit = 100,
    job: OfJob = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    name: Name = DEFAULT_NAME,
) -> None:
    """List dead letters, the newest last."""
    for letter in _read(settings_of(name), limit, job):
        typer.echo(json.dumps(letter.summary()) if as_json else letter.line())


@app.command()
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` tells it.")], name: Name = DEFAULT_NAME
) -> None:
    """Show a dead letter whole: the item, why it was given up, and its trace."""
    [letter] = _chosen(_read(settings_of(name), limit=100_000, job=None), [letter_id])
    typer.echo(json.dumps(_shortened(letter.whole()), indent=2, ensure_ascii=False))


@app.command()
def replay(
    ids: Ids = None,
    job: OfJob = None,
    takes_all: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    limit: Limit = 50_000,
    name: Name = DEFAULT_NAME,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
    ca: Ca = None,
) -> None:
    """Hand dead letters over again as a new job, and print its id. Take a key of the tenant whose they are.

    The same letters are the same job however often they are replayed.
    """
    if not (ids or job or takes_all):
        raise typer.BadParameter("name dead letters by their ids, take those of a --job, or --all.")
    settings = settings_of(name)
    letters = [letter for letter in _read(settings, limit, job) if letter.queued is not None or ids]
    spec, items = _again(_chosen(letters, ids) if ids else letters, settings)
    with connect(target, api_key, ca) as client:
        typer.echo(client.jobs.submit(items, spec).id)


def _read(settings: JobsSettings, limit: int, job: str | None) -> list[Letter]:
    from trichord_cli.letters import read

    return [letter for letter in read(settings, limit) if job is None or letter.job_id == job]


def settings_of(name: str) -> JobsSettings:
    """The queue and the store: as the environment has them, else as a local cluster does."""
    from local_cluster.jobs import objects, queue_address
    from local_cluster.state import RunDirectory
    from trichord.home import home
    from trichord.jobs.settings import JobsSettings

    settings = JobsSettings.from_environment()
    if settings.kafka:
        return settings
    spec = running(name).spec if all_running() else None
    if spec is None or not spec.jobs:
        raise SettingsError("No local cluster with --jobs runs, and TRICHORD_JOBS_KAFKA is not set: there is no queue.")
    store = settings.store or objects(RunDirectory(home(), spec.name).jobs)
    return settings.model_copy(update={"kafka": queue_address(spec.port), "store": store})


def _chosen(letters: list[Letter], ids: list[str]) -> list[Letter]:
    by_id = {letter.id: letter for letter in letters}
    if missing := [letter_id for letter_id in ids if letter_id not in by_id]:
        raise typer.BadParameter(f"there is no dead letter {missing[0]!r}.")
    return [by_id[letter_id] for letter_id in dict.fromkeys(ids)]


def _again(letters: list[Letter], settings: JobsSettings) -> tuple[jobs_pb2.JobSpec, list[jobs_pb2.JobItem]]:
    """The job that letters are once more. Raises BadParameter if they cannot be one."""
    from trichord.v1 import jobs_pb2
    from trichord_cli.letters import items

    queued = [letter.queued for letter in letters if letter.queued is not None]
    if not queued or len(queued) < len(letters):
        raise typer.BadParameter("there is nothing to replay, or an item that cannot be read.")
    if len(tenants := sorted({one.tenant for one in queued})) > 1:
        raise typer.BadParameter(f"these are of several tenants: {', '.join(tenants)}. Choose with --job or ids.")
    places = "\n".join(sorted(f"{one.job_id}-{one.index}" for one in queued))
    spec = jobs_pb2.JobSpec(request_id=f"replay:{hashlib.sha256(places.encode()).hexdigest()}")
    return spec, items(queued, settings)


def _shortened(value: Any) -> Any:
    match value:
        case dict():
            return {name: _shortened(member) for name, member in value.items()}
        case list():
            return [_shortened(member) for member in value]
        case str() if len(value) > MAX_SHOWN_CHARS:
            return f"{value[:MAX_SHOWN_CHARS]}... ({len(value)} characters)"
    return value
