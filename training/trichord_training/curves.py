"""``python -m trichord_training.curves RUN...``: a picture of how some runs went, one below the other.

Reads the figures that runs keep. Knows no phase: figures of a validation set lie over those of the same name in
training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import typer
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trichord.errors import TrainingError
from trichord_training.loop import FIGURES_FILE

Figures = Sequence[Mapping[str, float]]
"""The figures of a run by step, ascending; not every line has all."""

_STEP, _VALIDATION = "step", "validation_"
_CELL_INCHES = (2.9, 2.1)
_COLUMNS = 5
_LABELS = {"level": "difficulty", "wer": "word error rate", "kind": "shape or kind", "caption": "whole caption"}
_UNBOUNDED = ("loss", "drift", "wer")


def read_figures(run: Path) -> Figures:
    """A run's figures; of a step that was told twice, the last. Raises TrainingError if there are none."""
    try:
        lines = [json.loads(line) for line in (run / FIGURES_FILE).read_text().splitlines()]
        by_step = {int(line[_STEP]): {name: float(value) for name, value in line.items()} for line in lines}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(f"{run.name} has no figures to draw: {FIGURES_FILE} is missing or broken.") from error
    if not by_step:
        raise TrainingError(f"{run.name} has no figures yet.")
    return [by_step[step] for step in sorted(by_step)]


def draw_curves(runs: Mapping[str, Figures]) -> Figure:
    """Small pictures: for each run its figures, in as many rows as they need."""
    rows = [(run, figures, names) for run, figures in runs.items() for names in _rows(_names(figures))]
    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(_CELL_INCHES[0] * _COLUMNS, _CELL_INCHES[1] * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), _COLUMNS, squeeze=False)
        for cells, (run, figures, names) in zip(grid, rows, strict=True):
            cells[0].set_ylabel(run, fontweight="bold")
            for axes, name in zip(cells, names, strict=False):
                _draw(axes, name, figures)
            for axes in cells[len(names) :]:
                axes.set_axis_off()
        handles, labels = _legend(list(grid.flat))
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    return figure


def _names(figures: Figures) -> list[str]:
    """What there is to draw, the loss first."""
    found = {name.removeprefix(_VALIDATION) for line in figures for name in line} - {_STEP}
    return sorted(found, key=lambda name: (name != "loss", name))


def _rows(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + _COLUMNS] for first in range(0, len(names), _COLUMNS)]


def _draw(axes: Axes, name: str, figures: Figures) -> None:
    for key, label, style in ((name, "training", "C0-"), (_VALIDATION + name, "validation", "C1o-")):
        points = [(line[_STEP], line[key]) for line in figures if key in line]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=2.5, linewidth=1.2)
    axes.set_title(_LABELS.get(name, name.replace("_", " ")))
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylim(*((0, None) if name in _UNBOUNDED else (-0.03, 1.03)))
    axes.grid(alpha=0.3)


def _legend(every: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    """One entry for each kind of line."""
    entries = {label: handle for axes in every for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    return list(entries.values()), list(entries)


def main(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs, in the order of the phases.")],
    out: Annotated[Path, typer.Option(help="The picture, as PNG.")] = Path("docs/images/training-curves.png"),
) -> None:
    """Draws how runs went."""
    try:
        figure = draw_curves({run.name: read_figures(run) for run in runs})
    except TrainingError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from error
    figure.savefig(out, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    typer.run(main)
