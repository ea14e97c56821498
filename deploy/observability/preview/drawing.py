"""A dashboard as Grafana shows it, in its dark theme: titles, grid, units, legends, thresholds. Pure but for the file.

Everything is placed in pixels from the top left corner.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import TextToPath
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from deploy.observability.dashboards.panel import COLUMNS
from deploy.observability.preview.answers import Answer, Json, Window
from deploy.observability.preview.units import written

matplotlib.use("Agg")

COLUMN, UNIT, GAP = 58, 27, 6
"""A column's width, the height of the grid's lines, and what is left between two panels."""
HEAD, TITLE, AXIS, LABELS, LEGEND_LINE = 44, 26, 18, 76, 15
"""Heights of the dashboard's title, a panel's title, its times and a line of its legend; the width of its numbers."""
MAX_LEGEND_LINES = 3
DPI = 100
NUM_COLORS = 256
_LEGEND_POINTS = 7.3
_PAGE, _PANEL, _BORDER, _GRID, _TEXT, _FAINT = "#0a0b0e", "#1b1e23", "#2b2e34", "#26292f", "#d3d4dc", "#8e8e98"
_LINES: Final = (
    "#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#96d98d", "#fade2a", "#ffa6b0",
)  # fmt: skip
_LEVELS: Final = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    width: float
    height: float


def draw(dashboard: Json, answers: Sequence[Answer], window: Window, file: Path) -> None:
    """Writes the PNG."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    page = _Page(COLUMNS * COLUMN + GAP, HEAD + bottom * UNIT + GAP)
    page.text(12, HEAD / 2, dashboard["title"], size=13, weight="bold")
    for answer in answers:
        _panel(page, answer, window)
    page.save(file)


class _Page:
    """A figure that is drawn on in pixels."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=_PAGE)
        self._paper = self.axes(Box(0, 0, width, height))
        self._paper.set(xlim=(0, width), ylim=(height, 0))
        self._paper.set_axis_off()

    def axes(self, box: Box) -> Axes:
        """Room for a diagram."""
        bottom = self._height - box.top - box.height
        return self._figure.add_axes(
            (box.left / self._width, bottom / self._height, box.width / self._width, box.height / self._height),
            facecolor="none",
        )

    def frame(self, box: Box) -> None:
        style = "round,pad=0,rounding_size=3"
        corner = (box.left, box.top)
        self._paper.add_patch(
            FancyBboxPatch(corner, box.width, box.height, style, facecolor=_PANEL, edgecolor=_BORDER, linewidth=0.8)
        )

    def text(
        self, left: float, middle: float, words: str, size: float, color: str = _TEXT, weight: str = "normal"
    ) -> None:
        self._paper.text(left, middle, words, size=size, color=color, weight=weight, va="center", parse_math=False)

    def dash(self, left: float, middle: float, color: str) -> None:
        self._paper.plot([left, left + 11], [middle, middle], color=color, linewidth=2.5, solid_capstyle="butt")

    def save(self, file: Path) -> None:
        """Few colours are enough, and a third of the bytes."""
        drawn = io.BytesIO()
        self._figure.savefig(drawn, dpi=DPI)
        file.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(drawn) as image:
            few = image.convert("RGB").quantize(NUM_COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            few.save(file, optimize=True)


def _panel(page: _Page, answer: Answer, window: Window) -> None:
    at = answer.panel["gridPos"]
    box = Box(at["x"] * COLUMN + GAP, HEAD + at["y"] * UNIT + GAP, at["w"] * COLUMN - GAP, at["h"] * UNIT - GAP)
    if answer.panel["type"] == "row":
        page.text(box.left + 4, box.top + box.height / 2, f"▾ {answer.panel['title']}", size=10.5, weight="bold")
        return
    page.frame(box)
    page.text(box.left + 9, box.top + TITLE / 2 + 1, answer.panel["title"], size=9, weight="bold")
    if answer.is_empty:
        page.text(box.left + box.width / 2 - 22, box.top + box.height / 2 + 6, "No data", size=9, color=_FAINT)
        return
    match answer.panel["type"]:
        case "stat":
            _stat(page, answer, box, window)
        case "table":
            _table(page, answer, box)
        case _:
            _timeseries(page, answer, box, window)


def _stat(page: _Page, answer: Answer, box: Box, window: Window) -> None:
    """The last value, and faintly how it came to it."""
    values = answer.lines[0].values
    last = next(value for value in reversed(values) if value == value)
    axes = page.axes(Box(box.left + 1, box.top + box.height * 0.68, box.width - 2, box.height * 0.3))
    axes.fill_between(window.times_s, np.nan_to_num(values), color=_LINES[0], alpha=0.3, linewidth=0)
    axes.set(xlim=(window.start_s, window.end_s), ylim=(0, max(np.nanmax(values), 1e-9) * 1.1))
    axes.set_axis_off()
    defaults = answer.panel["fieldConfig"]["defaults"]
    first, *steps = defaults["thresholds"]["steps"]
    color = next((step["color"] for step in reversed(steps) if last >= step["value"]), first["color"])
    words = written(last, defaults["unit"])
    page.text(box.left + 10, box.top + box.height * 0.52, words, size=19, color=_LEVELS[color], weight="bold")


def _table(page: _Page, answer: Answer, box: Box) -> None:
    """A line for each series: its labels."""
    for number, line in enumerate(answer.lines):
        words = "   ".join(value for name, value in line.labels.items() if name not in ("__name__", "alertstate"))
        page.text(box.left + 10, box.top + TITLE + 10 + 16 * number, words, size=8)


def _timeseries(page: _Page, answer: Answer, box: Box, window: Window) -> None:
    entries = flowed([line.legend for line in answer.lines], box.width - 16)
    legend_top = box.top + box.height - LEGEND_LINE * (1 + max(entry[1] for entry in entries)) - 3
    top = box.top + TITLE + 4
    axes = page.axes(Box(box.left + LABELS, top, box.width - LABELS - 12, legend_top - AXIS - top - 4))
    _lines(axes, answer, window)
    _scaled(axes, answer.panel["fieldConfig"]["defaults"], window)
    for (left, line, words), color in zip(entries, _LINES * 9, strict=False):
        middle = legend_top + LEGEND_LINE * (line + 0.5)
        page.dash(box.left + 8 + left, middle, color)
        page.text(box.left + 24 + left, middle, words, size=_LEGEND_POINTS)


def _lines(axes: Axes, answer: Answer, window: Window) -> None:
    custom = answer.panel["fieldConfig"]["defaults"]["custom"]
    is_stacked = custom["stacking"]["mode"] == "normal"
    below = np.zeros(len(window.times_s))
    for line, color in zip(answer.lines, _LINES * 9, strict=False):
        values = below + np.nan_to_num(line.values) if is_stacked else np.array(line.values)
        axes.plot(window.times_s, values, color=color, linewidth=1.1)
        axes.fill_between(window.times_s, below, values, color=color, alpha=custom["fillOpacity"] / 100, linewidth=0)
        below = values if is_stacked else below
    if answer.dots:
        at_s, measured = zip(*answer.dots, strict=True)
        axes.scatter(at_s, measured, s=9, marker="D", color=_LINES[5], linewidths=0, zorder=3)


def _scaled(axes: Axes, defaults: Json, window: Window) -> None:
    """From zero to what there is, thresholds where they are within that."""
    top = defaults.get("max", max(axes.get_ylim()[1], 1e-9))
    axes.set(xlim=(window.start_s, window.end_s), ylim=(0, top * 1.03))
    for step in defaults["thresholds"]["steps"][1:]:
        if step["value"] <= top:
            axes.axhline(step["value"], color=_LEVELS[step["color"]], linewidth=1, linestyle=(0, (5, 4)))
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, labelsize=7, length=0)
    axes.spines[:].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, defaults["unit"])))
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 3, 6, 10], prune="upper"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time.strftime("%H:%M:%S", time.gmtime(value))))


def flowed(words: Sequence[str], width: float) -> list[tuple[float, int, str]]:
    """Where each entry of a legend goes: from the left, on which line; what does not fit is counted in the last."""
    placed: list[tuple[float, int, str]] = []
    left, line = 0.0, 0
    for number, word in enumerate(words):
        needed = 28 + _width(word)
        if left and left + needed > width:
            left, line = 0.0, line + 1
        if line == MAX_LEGEND_LINES:
            last = placed.pop()
            return [*placed, (*last[:2], f"and {len(words) - number + 1} more")]
        placed.append((left, line, word))
        left += needed
    return placed


def _width(words: str) -> float:
    """Of an entry of a legend."""
    points: float = TextToPath().get_text_width_height_descent(words, FontProperties(size=_LEGEND_POINTS), False)[0]
    return points * DPI / 72
