"""Where training runs: on the CPU or on one GPU, by the same code.

Samples are made on the CPU; what runs a model moves them to where the model is. Knows no model and no data.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trichord.errors import TrainingError

DeviceName = Literal["cpu", "cuda"]


def chosen_device(name: DeviceName | None) -> torch.device:
    """The device of that name; without one the GPU, if there is one. Raises TrainingError if there is no GPU."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise TrainingError("There is no GPU that torch can use. Leave --device out to train on the CPU.")
    return torch.device(name or ("cuda" if has_gpu else "cpu"))


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


def in_bfloat16(device: torch.device) -> torch.autocast:
    """Within it matrix products are of bfloat16 numbers, of parameters that stay float32."""
    return torch.autocast(device.type, torch.bfloat16)


def quickest_attention(device: torch.device) -> AbstractContextManager[None]:
    """Within it attention takes the kernel that is quickest forward and back."""
    # For a hundred positions the fused kernel's backward pass is several times slower on a CPU than plain products.
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
