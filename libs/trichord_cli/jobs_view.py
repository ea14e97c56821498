"""Jobs as people see them: a line each, and a bar while one runs."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trichord.v1 import jobs_pb2


def line(job: jobs_pb2.Job) -> str:
    """A job in a line."""
    counts = job.counts
    others = {"failed": counts.failed, "cancelled": counts.cancelled, "expired": counts.expired}
    told = "".join(f", {number} {name}" for name, number in others.items() if number)
    created = job.create_time.ToDatetime().isoformat(" ", "seconds")
    file = f"  {job.spec.metadata['file']}" if "file" in job.spec.metadata else ""
    return f"{job.id}  {state(job):10}  {counts.completed} of {counts.total} answered{told}  {created} UTC{file}"


def state(job: jobs_pb2.Job) -> str:
    """Its state in a word."""
    return jobs_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()


def num_ended(job: jobs_pb2.Job) -> int:
    """Items that have a result, of whatever kind."""
    counts = job.counts
    return counts.completed + counts.failed + counts.cancelled + counts.expired


def show(changes: Iterable[jobs_pb2.Job]) -> jobs_pb2.Job:
    """A bar on stderr that follows the changes; the last of them."""
    columns = (
        TextColumn("{task.description:10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unanswered]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    job = jobs_pb2.Job()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", visible=False, unanswered="")
        for job in changes:
            unanswered = num_ended(job) - job.counts.completed
            progress.update(
                bar,
                visible=True,
                description=state(job),
                total=job.counts.total,
                completed=num_ended(job),
                unanswered=f"{unanswered} unanswered" if unanswered else "",
            )
    return job
