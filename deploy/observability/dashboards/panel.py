"""What a dashboard is made of. Knows nothing of Grafana's JSON, and of no metric."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

COLUMNS: Final = 24
"""Of Grafana's grid."""

Kind = Literal["timeseries", "stat", "table"]
Unit = Literal[
    "short", "s", "µs", "percentunit", "reqps", "ops", "tokens/s", "tiles/s", "audio s/s", "units/s", "bytes", "cores"
]
"""Grafana's id of a unit, or a word of ours, which it then writes behind the number."""


class Query(NamedTuple):
    """A line, or several, told apart by ``legend``'s labels in double braces."""

    expr: str
    legend: str = ""
    exemplars: bool = False
    """Also the traces that single measurements were made in."""


@dataclass(frozen=True)
class Panel:
    """One picture. ``description`` says what it shows, and what to do when it is bad."""

    title: str
    unit: Unit
    description: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 8
    """Of ``COLUMNS``."""
    is_stacked: bool = False
    most: float | None = None
    """Top of the scale; None: whatever comes."""
    steps: tuple[tuple[float, str], ...] = ()
    """From which value on it has which colour."""
    lowest: str = "green"
    """Its colour below the first of them."""


class Row(NamedTuple):
    """Panels under a title, from the left to the right and then below."""

    title: str
    panels: tuple[Panel, ...]


class Choice(NamedTuple):
    """A variable whose values are told, each by a name for people."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Dashboard:
    """All panels of one question; ``uid`` is its address in Grafana and its file's name."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    choices: tuple[Choice, ...] = field(default=())
