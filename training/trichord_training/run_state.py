"""What a run of training needs to go on where it stopped: tensors, the optimizers' memory and the step, in one file.

Written whole or not at all. safetensors and JSON, so that a file from elsewhere can hold no code. Knows no phase.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from trichord.errors import TrainingError
from trichord_training.recipe import Recipe

STATE_FILE = "state.safetensors"


@dataclass
class RunState:
    """A run between two steps."""

    module: nn.Module
    optimizers: Sequence[Optimizer]
    recipe: str
    """The recipe as JSON; a state of another one is refused."""
    step: int = 0
    progress: dict[str, float] = field(default_factory=dict)
    """Numbers that a phase keeps from step to step."""

    def save(self, directory: Path) -> None:
        """Writes the state into ``directory``."""
        tensors = {f"module/{name}": value.detach() for name, value in learnt(self.module).items()}
        for index, optimizer in enumerate(self.optimizers):
            for parameter, memory in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{index}/{parameter}/{name}": value for name, value in memory.items()}
        about = {"step": self.step, "recipe": self.recipe, "progress": self.progress}
        unfinished = directory / f"{STATE_FILE}.part"
        save_file({name: value.contiguous() for name, value in tensors.items()}, unfinished, {"run": json.dumps(about)})
        unfinished.replace(directory / STATE_FILE)

    def resume(self, directory: Path) -> bool:
        """Goes on from the state in ``directory``; False if there is none. Raises TrainingError if it is not ours."""
        path = directory / STATE_FILE
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["run"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self._take(about, tensors)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise TrainingError(
                f"{path.name} is not a state of this run. Remove {directory.name} to begin anew."
            ) from error
        return True

    def _take(self, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        if Recipe.model_validate_json(about["recipe"]) != Recipe.model_validate_json(self.recipe):
            raise ValueError(about["recipe"])
        take(self.module, _under("module/", tensors))
        for index, optimizer in enumerate(self.optimizers):
            memory: dict[int, dict[str, Tensor]] = {}
            for name, value in _under(f"optimizer/{index}/", tensors).items():
                parameter, _, key = name.partition("/")
                memory.setdefault(int(parameter), {})[key] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": memory})
        self.step, self.progress = int(about["step"]), dict(about["progress"])


def learnt(module: nn.Module) -> dict[str, nn.Parameter]:
    """What of a module is trained."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


@torch.no_grad()
def take(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts values into what of a module is trained: all of it. Raises ValueError if the names differ."""
    own = learnt(module)
    if own.keys() != tensors.keys():
        raise ValueError(min(own.keys() ^ tensors.keys()))
    for name, parameter in own.items():
        parameter.copy_(tensors[name])


def tensors_of(directory: Path) -> dict[str, Tensor]:
    """What was trained in the run of ``directory``, for a later phase. Raises TrainingError if there is no such run."""
    try:
        with safe_open(directory / STATE_FILE, "pt") as file:
            return _under("module/", {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{directory.name} has no run to begin with. Run the phase before this one.") from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
