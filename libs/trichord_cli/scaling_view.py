"""How the autoscaler's decisions look to people. Knows the shape of what it answers, and nothing of its policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from autoscaler.reasons import figure

Told = Mapping[str, Any]


def table(modalities: Sequence[Told]) -> Table:
    """One row for each modality."""
    view = Table(box=box.SIMPLE_HEAD, title="replicas and why", show_lines=True)
    for column in ("modality", "now", "wanted", "waiting", "in work", "coming", "one does", "p95 wait"):
        view.add_column(column, justify="left" if column == "modality" else "right", no_wrap=True)
    view.add_column("why", min_width=30)
    for told in modalities:
        view.add_row(told["modality"], _now(told), str(told["desired"]), *_inputs(told), told["reason"])
    if not modalities:
        view.caption = "Nothing is decided yet: no gateway has told of any work."
    return view


def changes(records: Sequence[Told], now_s: float) -> Table:
    """The last changes, newest first."""
    view = Table(box=box.SIMPLE_HEAD, title="last changes")
    for column in ("ago", "modality", "from", "to"):
        view.add_column(column, justify="left" if column == "modality" else "right", no_wrap=True)
    view.add_column("why")
    for record in records:
        ago = f"{max(0.0, now_s - record['at_s']):.0f} s"
        view.add_row(ago, record["modality"], str(record["replicas"]), str(record["desired"]), record["reason"])
    return view


def _now(told: Told) -> str:
    starting = max(0, told["replicas"] - told["ready"])
    return f"{told['ready']} + {starting} starting" if starting else str(told["ready"])


def _inputs(told: Told) -> tuple[str, ...]:
    inputs, unit = told["inputs"], told["unit"]
    if not inputs:
        return ("?",) * 5
    return (
        f"{figure(inputs['queued_cost'])} {unit}",
        f"{figure(inputs['running_cost'])} {unit}",
        f"{figure(inputs['arrived_cost_per_s'])}/s",
        f"{figure(inputs['rate'])}/s",
        f"{figure(inputs['queue_p95_ms'])} ms",
    )
