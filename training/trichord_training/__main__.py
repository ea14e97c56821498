"""``python -m trichord_training RECIPE``: runs one phase, or goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from trichord_training.base import Base
from trichord_training.converse import Converse
from trichord_training.hear import Hear
from trichord_training.loop import Task, run
from trichord_training.recipe import Recipe
from trichord_training.see import See

from trichord.checkpoint.presets import preset


def main(
    recipe: Annotated[Path, typer.Argument(help="A file of training/configs.")],
    directory: Annotated[Path, typer.Option(help="Where the run's state and figures are kept.")],
    clips: Annotated[Path, typer.Option(help="Where recordings are kept, for all phases that hear.")] = Path(
        "runs/clips"
    ),
    begin_with: Annotated[
        list[Path] | None, typer.Option(help="Runs of earlier phases to begin with, oldest first.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 2,
) -> None:
    """Runs one phase of training, or goes on with it where it stopped."""
    torch.set_num_threads(threads)
    settings = Recipe.read(recipe)
    run(_task(settings, clips, begin_with or []), settings, directory)


def _task(recipe: Recipe, clips: Path, begin_with: list[Path]) -> Task:
    config, base = preset(recipe.preset), Base.open()
    match recipe.phase:
        case "see":
            return See(config, base, recipe)
        case "hear":
            return Hear(config, base, recipe, clips)
        case _:
            return Converse(config, base, recipe, clips, begin_with)


typer.run(main)
