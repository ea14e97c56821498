"""Weights into a torch module. The one module of this package that imports torch.

Knows nothing of what the module computes.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trichord.checkpoint.safetensors_file import StoredTensor
from trichord.checkpoint.stored import check_tensors, stored_tensors
from trichord.tensors import Array

_TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_into(module: nn.Module, checkpoint: Path, prefix: str, dtype: torch.dtype) -> None:
    """Replaces the module's parameters and buffers by the checkpoint's tensors, converted to ``dtype``, on the CPU.

    The module may be on the meta device. Stored names under ``prefix`` must be exactly the keys of the module's state
    dict, of tied parameters one; shapes must be equal. What needs no conversion stays mapped from the file. Buffers
    outside the state dict are left alone. Raises CheckpointError naming the tensor.
    """
    aliases = _aliases(module, prefix, stored := stored_tensors(checkpoint, prefix))
    state = module.state_dict()
    check_tensors({prefix + name: tuple(state[name].shape) for name in aliases}, stored)
    maps = {path: np.memmap(path, np.uint8, "c") for path in {tensor.path for tensor in stored.values()}}
    parameters = dict(module.named_parameters(remove_duplicate=False))
    loaded: dict[str, torch.Tensor] = {}
    for name, others in aliases.items():
        tensor = _tensor(stored[prefix + name], maps[stored[prefix + name].path]).to(dtype)
        value = nn.Parameter(tensor, parameters[name].requires_grad) if name in parameters else tensor
        loaded |= dict.fromkeys((name, *others), value)
    module.load_state_dict(loaded, strict=True, assign=True)


def _aliases(module: nn.Module, prefix: str, stored: dict[str, StoredTensor]) -> dict[str, list[str]]:
    """Of each group of tied names: the one that is stored (or the first), and the others."""
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for name, tensor in module.state_dict(keep_vars=True).items():
        groups[id(tensor)].append(name)
    chosen = {next((n for n in names if prefix + n in stored), names[0]): names for names in groups.values()}
    return {name: [other for other in names if other != name] for name, names in chosen.items()}


def _tensor(stored: StoredTensor, file: Array) -> torch.Tensor:
    """The tensor over the file's mapped bytes; the map is private, so a write to it stays in memory."""
    data = file[stored.start : stored.start + stored.num_bytes]
    words = np.require(data.view(np.int16 if stored.dtype != "F32" else np.int32), requirements="A")
    return torch.from_numpy(words).view(_TORCH_DTYPES[stored.dtype]).reshape(stored.shape)
