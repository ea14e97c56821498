"""Which optimizer moves which tensor: Muon the matrices inside a tower, AdamW the rest.

Muon (K. Jordan, 2024; scaled as in arXiv 2502.16982) learns from fewer samples than AdamW, and is for hidden matrices
only. Knows no phase.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch.nn import Parameter
from torch.optim import AdamW, Muon, Optimizer

BETAS = (0.9, 0.98)


def adamw(named: Mapping[str, Parameter], learning_rate: float, weight_decay: float = 0.0) -> AdamW:
    """Moves any tensors."""
    return AdamW(list(named.values()), lr=learning_rate, betas=BETAS, weight_decay=weight_decay)


def muon(named: Mapping[str, Parameter], learning_rate: float) -> Muon:
    """Moves matrices, by steps as large as AdamW's."""
    return Muon(list(named.values()), lr=learning_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")


def set_rate(optimizer: Optimizer, share: float) -> None:
    """Lets the next step be ``share`` of the optimizer's own learning rates."""
    for group in optimizer.param_groups:
        group.setdefault("full_lr", group["lr"])
        group["lr"] = group["full_lr"] * share
