"""How a cluster's rates look to people: small tables. Knows no metrics."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table

from trichord_cli.top_rates import OUTCOMES, Engine, Jobs, Rates, Replicas, Requests, Work

NOTHING = "-"
_COLOURS = {"ok": "green", "shed": "yellow", "failed": "red", "expired": "red"}
_UNITS = {"image": "tiles", "audio": "s"}


def view(rates: Rates, silent: Sequence[str] = ()) -> Group:
    """All of it; ``silent`` are those whose pages do not answer."""
    caption = f"mean of {rates.seconds:.1f} s"
    if silent:
        caption += f"; no answer from {', '.join(silent)}"
    jobs = [_jobs(rates.jobs)] if rates.jobs else []
    return Group(_requests(rates.requests), _work(rates.work), *jobs, _engine(rates.engine, rates.replicas, caption))


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", collapse_padding=True, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _requests(rows: Sequence[Requests]) -> Table:
    table = _table("chats a second", "with", *OUTCOMES, "TTFT p50", "p95")
    for row in rows:
        told = [_coloured(outcome, row.per_s[outcome]) for outcome in OUTCOMES]
        table.add_row(row.modalities.replace("text+", "+", 1), *told, seconds(row.ttft_p50_s), seconds(row.ttft_p95_s))
    return table


def _work(rows: Sequence[Work]) -> Table:
    columns = ("tokens in/s", "out/s", "media/s", "reused", "queue p50", "p95", "queued", "shed/s")
    table = _table("work", "modality", *columns)
    for row in rows:
        media = NOTHING if row.units_per_s is None else f"{number(row.units_per_s)} {_UNITS[row.modality]}"
        tokens = number(row.input_tokens_per_s), number(row.output_tokens_per_s)
        queue = seconds(row.queue_p50_s), seconds(row.queue_p95_s)
        told = number(row.waiting), _coloured("shed", row.sheds_per_s)
        table.add_row(row.modality, *tokens, media, percent(row.reused), *queue, *told)
    return table


def _jobs(jobs: Jobs) -> Table:
    table = _table("jobs", "items left", "oldest job", "workers", "in work", "answered/s", "failed/s")
    figures = number(jobs.left), seconds(jobs.oldest_s or None), number(jobs.workers), number(jobs.running)
    table.add_row(*figures, number(jobs.completed_per_s), _coloured("failed", jobs.failed_per_s))
    return table


def _engine(engine: Engine, replicas: Sequence[Replicas], caption: str) -> Table:
    services = [row.service.removesuffix("-encoder").removeprefix("llm-") for row in replicas]
    table = _table("answers and replicas", "running", "waiting", "batch", "KV use", "prefix reused", *services)
    table.add_row(
        number(engine.running),
        number(engine.waiting),
        number(engine.batch_size),
        percent(engine.kv_use),
        percent(engine.prefix_reused),
        *(f"{row.usable:.0f}/{row.all:.0f}" for row in replicas),
    )
    table.caption, table.caption_justify = caption, "left"
    return table


def _coloured(outcome: str, per_s: float) -> str:
    colour = _COLOURS.get(outcome)
    return f"[{colour}]{number(per_s)}[/]" if colour and per_s else number(per_s)


def number(value: float | None) -> str:
    """Three digits or so."""
    if value is None:
        return NOTHING
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def percent(share: float | None) -> str:
    """A share of 1."""
    return NOTHING if share is None else f"{share * 100:.0f} %"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None:
        return NOTHING
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms" if value >= 0.01 else f"{value * 1e3:.1f} ms"
