"""The loop that every phase runs in: batches, rates, states, figures, and a bar to look at.

A run that is stopped goes on where it last saved, over the samples that it would have had. Knows no phase's data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Optimizer

from trichord_training.device import device_of, quickest_attention
from trichord_training.optimizers import set_rate
from trichord_training.recipe import Recipe
from trichord_training.run_state import RunState

FIGURES_FILE = "figures.jsonl"
MAX_GRADIENT_NORM = 1.0
_SMOOTHING = 0.97


class Task(Protocol):
    """What a phase teaches."""

    @property
    def module(self) -> nn.Module:
        """What is taught; only parameters that need a gradient are kept in the run's state."""

    @property
    def optimizers(self) -> Sequence[Optimizer]:
        """What moves its parameters."""

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a step's batch, and figures of it from 0 to 1; ``progress`` is kept between steps."""

    def validate(self) -> Mapping[str, float]:
        """Figures on validation samples."""

    def export(self, directory: Path) -> None:
        """Writes what was learnt as tensors of the checkpoint."""


def run(task: Task, recipe: Recipe, directory: Path) -> None:
    """Trains to the recipe's last step; saves, validates and exports on the way, and tells the figures on stderr.

    Goes on from the state in ``directory``, if it has one. Raises TrainingError if that is of another run.
    """
    directory.mkdir(parents=True, exist_ok=True)
    state = RunState(task.module, task.optimizers, recipe.model_dump_json())
    state.resume(directory)
    with _progress() as bar, quickest_attention(device_of(task.module)):
        shown = bar.add_task(recipe.phase, total=recipe.steps, completed=state.step, figures="")
        while state.step < recipe.steps:
            figures = _step(task, recipe, state)
            state.step += 1
            bar.update(shown, completed=state.step, figures=_text(figures))
            if state.step % recipe.save_every == 0 or state.step == recipe.steps:
                line = _keep(task, state, figures, directory)
                bar.console.print(f"{recipe.phase} {_text(line)}", soft_wrap=True, highlight=False)


def _step(task: Task, recipe: Recipe, state: RunState) -> dict[str, float]:
    """One step; the figures of the last steps, smoothed."""
    for optimizer in task.optimizers:
        set_rate(optimizer, recipe.rate(state.step))
        optimizer.zero_grad(set_to_none=True)
    task.module.train()
    loss, figures = task.loss(state.step, state.progress)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(task.module.parameters(), MAX_GRADIENT_NORM)
    for optimizer in task.optimizers:
        optimizer.step()
    for name, value in {"loss": loss.item(), **figures}.items():
        before = state.progress.get(name, value)
        state.progress[name] = _SMOOTHING * before + (1 - _SMOOTHING) * value
    return state.progress


def _keep(task: Task, state: RunState, figures: Mapping[str, float], directory: Path) -> dict[str, float]:
    """Validates, exports and saves; what it has written of this step in the file of figures."""
    task.module.eval()
    validated = {f"validation_{name}": value for name, value in task.validate().items()}
    line = {name: round(value, 5) for name, value in {"step": state.step, **figures, **validated}.items()}
    with (directory / FIGURES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    task.export(directory)
    state.save(directory)
    return line


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"), console=Console(stderr=True), refresh_per_second=2,
    )  # fmt: skip


def _text(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())
