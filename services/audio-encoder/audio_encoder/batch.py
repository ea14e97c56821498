"""Requests as Triton brings them, answered together: checked one by one, encoded as one batch of windows.

The core of the Triton adapter, on tensors alone. Knows no Triton.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from trichord.errors import RequestError
from trichord.media.windows import MIN_WINDOW_SAMPLES


class Encoder(Protocol):
    """What encodes: ``encoder.AudioEncoder``, or ``simulated.SimulatedEncoder`` in its place."""

    window_samples: int
    """Most samples of a window."""

    def encode(self, windows: Sequence[Tensor]) -> list[Tensor]:
        """The rows [tokens, hidden] of each window; see ``AudioEncoder.encode``."""


Answer = Tensor | RequestError
"""Rows [tokens, hidden] of a request, or what is wrong with it."""


def answer(encoder: Encoder, requests: Sequence[Tensor]) -> list[Answer]:
    """The answer to each request (PCM float32 [1, samples]), in order.

    A malformed request gets an error and costs the others nothing.
    """
    errors = [_error(pcm, encoder.window_samples) for pcm in requests]
    rows = iter(encoder.encode([pcm[0] for pcm, error in zip(requests, errors, strict=True) if error is None]))
    return [error or next(rows) for error in errors]


def _error(pcm: Tensor, most_samples: int) -> RequestError | None:
    if pcm.ndim != 2 or len(pcm) != 1 or not MIN_WINDOW_SAMPLES <= pcm.shape[1] <= most_samples:
        message = f"PCM has shape [1, {MIN_WINDOW_SAMPLES} to {most_samples} samples]."
        return RequestError(message, field="PCM")
    if not torch.isfinite(pcm).all():
        return RequestError("PCM must be finite.", field="PCM")
    return None
