"""How traces look in a terminal. Knows the JSON that the keeper of traces answers, and how deep each process is."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trichord_cli.receipt import Stage, bar

Told = Mapping[str, Any]

# A hue for each hop, paler before its model, as the pages have it.
_COLOURS = {
    "gateway": ("#9ca3af",) * 3,
    "vision-encoder": ("#f6c9a8", "#f59e5b", "#ea580c"),
    "audio-encoder": ("#a7ded7", "#4fbfb2", "#0d9488"),
    "llm-decoder": ("#c4c1ff", "#938dff", "#6d64f0"),
    "autoscaler": ("#eab308",) * 3,
}
_OTHER = ("#38bdf8",) * 3
_BAD, _MISSING = "red", "bright_black"
_PART = re.compile(r"(.*?)(?:-(triton|model))?", re.DOTALL)
_DEPTHS = {None: 0, "triton": 1, "model": 2}
MAX_INDENT, MAX_NAME_CELLS, MIN_BAR_CELLS = 12, 46, 16
_OTHER_CELLS = 15
"""For a duration, and between columns."""
_WIDE_CELLS = 120
MARK = "┊"
"""Of the first token."""
_MS_PER_S = 1000


def table(traces: Sequence[Told], width: int) -> RenderableType:
    """One line for each trace; request ids only where the terminal, ``width`` cells, has room for them."""
    if not traces:
        return Text("There is no such trace. Ask something first: trichord chat 'Hello'")
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column, cells in (
        ("trace", 8),
        ("when", 8),
        ("request", None),
        ("took", 7),
        ("first token", 11),
        ("ended", 12),
    ):
        justify: Literal["left", "right"] = "right" if column in ("took", "first token") else "left"
        view.add_column(column, justify=justify, no_wrap=True, min_width=cells)
    if width >= _WIDE_CELLS:
        view.add_column("request id", no_wrap=True)
    for told in traces:
        first = "" if told["first_token_ms"] is None else duration(told["first_token_ms"])
        took = duration(told["duration_ms"])
        request = Text(" ".join(filter(None, (told["label"], told["model"]))))
        when = datetime.datetime.fromtimestamp(told["start_ms"] / _MS_PER_S).strftime("%H:%M:%S")
        request_id = [Text(told["request_id"])] if width >= _WIDE_CELLS else []
        view.add_row(told["trace_id"][:8], when, request, took, first, ending(told), *request_id)
    return view


def waterfall(told: Told, width: int) -> RenderableType:
    """A trace as a tree of spans with their bars; ``width`` is the terminal's, in cells."""
    names = [_name(row) for row in told["rows"]]
    name_cells = min(MAX_NAME_CELLS, max((name.cell_len for name in names), default=0))
    service_cells = max((len(row.get("service", "")) for row in told["rows"]), default=0)
    left = width - name_cells - service_cells - _OTHER_CELLS
    bar_cells = left if left >= MIN_BAR_CELLS else max(MIN_BAR_CELLS, left + service_cells)
    view = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
    view.add_column(width=name_cells, no_wrap=True, overflow="ellipsis")
    view.add_column(justify="right", no_wrap=True)
    view.add_column(width=bar_cells, no_wrap=True)
    for name, row in zip(names, told["rows"], strict=True):
        service = [_service(row)] if bar_cells == left else []
        view.add_row(name, duration(row["duration_ms"]), _bar(row, told, bar_cells), *service)
    return Group(*_head(told), Text(), view, Text(), *_foot(told))


def ending(told: Told) -> Text:
    """How a trace ended."""
    if told["error"]:
        return Text("cancelled", "yellow") if told["is_cancelled"] else Text(told["error"], _BAD)
    if not told["has_root"]:
        return Text("incomplete" if told["is_settled"] else "in progress", "cyan")
    return Text(f"well, {told['num_failed']} failed inside", "yellow") if told["num_failed"] else Text("well", "green")


def duration(ms: float) -> str:
    """As people read it."""
    if ms >= _MS_PER_S:
        return f"{ms / _MS_PER_S:.2f} s"
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"


def _head(told: Told) -> Iterable[Text]:
    first = "" if told["first_token_ms"] is None else f", {duration(told['first_token_ms'])} to the first token"
    yield Text.assemble((told["label"], "bold"), f"  {duration(told['duration_ms'])} in all{first}  ", ending(told))
    about = filter(None, (told["model"], told["request_id"], f"trace {told['trace_id']}"))
    yield Text("  ".join(about), "dim")


def _foot(told: Told) -> Iterable[Text]:
    if told["origin"] and not told["is_cancelled"]:
        yield Text(f"What failed did so in {told['origin']['service']}, at {told['origin']['label']}.", _BAD)
    if told["num_refused"]:
        yield Text(f"{told['num_refused']} further spans had no room.", "yellow")
    if not told["has_root"]:
        yield Text("The outermost span has not come: the request is still answered, or a process ended before.", "cyan")


def _name(row: Told) -> Text:
    indent = "  " * min(row["depth"], MAX_INDENT)
    if row["is_missing"]:
        return Text(f"{indent}not received", f"italic {_MISSING}")
    style = "" if not row["error"] else "yellow" if row["is_cancelled"] else _BAD
    name = Text.assemble(indent, (row["label"], style))
    if row["note"]:
        name.append(f" {row['note']}", "dim")
    if row["is_origin"]:
        name.append(f" {row['error']}", f"bold {style}")
    return name


def _bar(row: Told, told: Told, cells: int) -> Text:
    """A row's bar, and where it leaves room the line of the first token."""
    if row["is_missing"]:
        colour = _MISSING
    else:
        colour = _BAD if row["error"] and not row["is_cancelled"] else _colour(row["service"])
    drawn = bar(Stage("", max(0.0, row["start_ms"]), row["duration_ms"]), told["duration_ms"], cells).ljust(cells)
    shown = Text(drawn.replace("█", "░") if row["is_missing"] else drawn, colour)
    if told["first_token_ms"] is None:
        return shown
    at = min(int(told["first_token_ms"] / max(told["duration_ms"], 1e-9) * cells), cells - 1)
    return Text.assemble(shown[:at], (MARK, "dim"), shown[at + 1 :]) if drawn[at] == " " else shown


def _service(row: Told) -> Text:
    return Text() if row["is_missing"] else Text(row["service"], _colour(row["service"]))


def _colour(service: str) -> str:
    matched = _PART.fullmatch(service)
    assert matched, "every text has an own part, and perhaps an end that is known"
    return _COLOURS.get(matched[1], _OTHER)[_DEPTHS[matched[2]]]
