"""``python -m trichord_training RECIPE``: runs one phase, or goes on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from trichord.checkpoint.presets import preset
from trichord.errors import TrichordError
from trichord_training.base import Base
from trichord_training.converse import Converse
from trichord_training.device import DeviceName, chosen_device
from trichord_training.hear import Hear
from trichord_training.loop import Task, run
from trichord_training.recipe import Recipe
from trichord_training.see import See
from trichord_training.settle import SettlePictures, SettleSounds


def main(
    recipe: Annotated[Path, typer.Argument(help="A file of training/configs.")],
    directory: Annotated[Path, typer.Option(help="Where the run's state and figures are kept.")],
    clips: Annotated[Path, typer.Option(help="Where recordings are kept, for all phases that hear.")] = Path(
        "runs/clips"
    ),
    begin_with: Annotated[
        list[Path] | None, typer.Option(help="Runs of earlier phases to begin with, oldest first.")
    ] = None,
    device: Annotated[DeviceName | None, typer.Option(help="By default the GPU, if there is one.")] = None,
    threads: Annotated[int, typer.Option(help="Of the CPU.")] = 2,
) -> None:
    """Runs one phase of training, or goes on with it where it stopped."""
    torch.set_num_threads(threads)
    try:
        settings = Recipe.read(recipe)
        run(_task(settings, clips, begin_with or [], chosen_device(device)), settings, directory)
    except TrichordError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from error


def _task(recipe: Recipe, clips: Path, begin_with: list[Path], device: torch.device) -> Task:
    config, base = preset(recipe.preset), Base.open()
    match recipe.phase:
        case "see":
            return See(config, base, recipe, device)
        case "hear":
            return Hear(config, base, recipe, clips, device)
        case "settle" if recipe.media == ["pictures"]:
            return SettlePictures(config, base, recipe, begin_with, device)
        case "settle":
            return SettleSounds(config, base, recipe, clips, begin_with, device)
        case _:
            return Converse(config, base, recipe, clips, begin_with, device)


if __name__ == "__main__":
    typer.run(main)
