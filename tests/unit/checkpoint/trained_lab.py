"""Made-up trained tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from trichord.checkpoint.layout import Shape
from trichord.checkpoint.trained import UNPACKAGED


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)


def whole(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, torch.Tensor]:
    """What a file must have: everything that no package has."""
    return {name: random(*shape, seed=seed) for name, shape in shapes.items() if name.startswith(UNPACKAGED)}


def pair(name: str, shape: Shape, rank: int = 2, seed: int = 1) -> dict[str, torch.Tensor]:
    """A change of low rank."""
    down, up = random(rank, shape[1], seed=seed), random(shape[0], rank, seed=seed + 1)
    return {f"{name}.lora_a": down, f"{name}.lora_b": up}


def write(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    """By another writer than ours."""
    save_file(dict(tensors), path, {"trichord": "{}"})
    return path
