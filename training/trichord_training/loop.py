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
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer
from trichord_training.optimizers import set_rate
from trichord_training.recipe import Recipe
from trichord_training.run_state import RunState

FIGURES_FILE = "figures.jsonl"
MAX_GRADIENT_NORM = 1.0
_SMOOTHING = 0.97


class Task(Protocol):
    """What a phase teaches."""

    module: nn.Module
    optimizers: Sequence[Optimizer]

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """The loss of a step's batch, and figures of it from 0 to 1; ``progress`` is kept between steps."""

    def validate(self) -> Mapping[str, float]:
        """Figures on validation samples."""

    def export(self, directory: Path) -> None:
        """Writes what was learnt as tensors of the checkpoint."""


def run(task: Task, recipe: Recipe, directory: Path) -> None:
    """Trains to the recipe's last step; saves, validates and exports on the way."""
    directory.mkdir(parents=True, exist_ok=True)
    state = RunState(task.module, task.optimizers, recipe.model_dump_json())
    state.resume(directory)
    # Plain matrix products: for a hundred positions the fused kernel's backward pass is several times slower on a CPU.
    with _progress() as bar, sdpa_kernel(SDPBackend.MATH):
        shown = bar.add_task(recipe.phase, total=recipe.steps, completed=state.step, figures="")
        while state.step < recipe.steps:
            figures = _step(task, recipe, state)
            state.step += 1
            bar.update(shown, completed=state.step, figures=_text(figures))
            if state.step % recipe.save_every == 0 or state.step == recipe.steps:
                _keep(task, state, figures, directory)


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


def _keep(task: Task, state: RunState, figures: Mapping[str, float], directory: Path) -> None:
    task.module.eval()
    validated = {f"validation_{name}": value for name, value in task.validate().items()}
    line = {"step": state.step, **figures, **validated}
    with (directory / FIGURES_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: round(value, 5) for name, value in line.items()}) + "\n")
    task.export(directory)
    state.save(directory)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"), console=Console(stderr=True), refresh_per_second=2,
    )  # fmt: skip


def _text(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in figures.items())
