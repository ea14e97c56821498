"""``python -m trichord_training.ship RUN...``: what runs have learnt, as the one file that a checkpoint is pulled with.

Later runs go before earlier ones. The file's header tells of each run its recipe and its last figures. Knows no phase.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from trichord.checkpoint import trained
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import preset
from trichord.errors import TrainingError
from trichord_training.loop import FIGURES_FILE
from trichord_training.recipe import Recipe
from trichord_training.run_state import STATE_FILE
from trichord_training.see import TENSORS_FILE

METADATA_KEY = "trichord"
"""Of the header's metadata: JSON of preset, date and runs."""


def ship(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the tensors of some runs as bfloat16, where ``trichord checkpoint pull`` looks for them by default.

    Returns the file. Raises TrainingError if a directory is not a run, or runs are of different presets, and
    CheckpointError naming a tensor that is missing or wrong; then nothing is replaced.
    """
    abouts = [_about(run) for run in runs]
    presets = {about["recipe"]["preset"] for about in abouts}
    if len(presets) != 1:
        raise TrainingError(f"One file is for one preset; these runs are of {', '.join(sorted(presets)) or 'none'}.")
    (name,) = presets
    tensors = {key: value for run in runs for key, value in _learnt(run).items()}
    about = {"preset": name, "date": datetime.now(UTC).date().isoformat(), "runs": abouts}
    output = output or trained.shipped(name)
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".part")
    try:
        save_file(tensors, unfinished, {METADATA_KEY: json.dumps(about)})
        trained.sha256(unfinished)  # is not too large
        trained.Trained.read(unfinished, tensor_shapes(preset(name)))  # and is what a pull takes
        unfinished.chmod(0o644)  # the library lets nobody else read it
        return unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def _about(run: Path) -> dict[str, Any]:
    """A run's recipe, how many steps of it were done, and its last figures."""
    try:
        with safe_open(run / STATE_FILE, "pt") as file:
            state = json.loads(file.metadata()["run"])
        recipe = Recipe.model_validate_json(state["recipe"])
        figures = json.loads((run / FIGURES_FILE).read_text().splitlines()[-1])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, IndexError) as error:
        raise TrainingError(f"{run.name} is not a run that has kept its state.") from error
    return {"recipe": recipe.model_dump(), "steps": state["step"], "figures": figures}


def _learnt(run: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(run / TENSORS_FILE)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{run.name} has no tensors to ship: {TENSORS_FILE} is missing or broken.") from error
    return {name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}


def main(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs, the last phase last.")],
    output: Annotated[Path | None, typer.Option(help="By default where the preset's file is shipped.")] = None,
) -> None:
    """Writes the file of trained tensors that the repository ships. Prints its path."""
    typer.echo(ship(runs, output))


if __name__ == "__main__":
    typer.run(main)
