"""Rows of a simulated embedding: seeded by the medium, and marked as what they are.

The same medium has the same rows, another one has others, so that caches behave; they mean nothing. A front checks for
the mark: rows of a simulated model never go out under a real one's fingerprint, nor the reverse. Knows no torch.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from trichord.settings import Backend
from trichord.tensors import Array

MARK = np.array([1, -1] * 4, np.float32)
"""What each row begins with. All other values are below 1, and no tower makes eight exact ones in a row."""


def seeded_rows(content: bytes, num_rows: int, hidden_size: int) -> npt.NDArray[np.float32]:
    """Marked rows [num_rows, hidden_size] of a medium of that content."""
    seed = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
    rows = np.random.default_rng(seed).random((num_rows, hidden_size), np.float32)
    rows[:, : len(MARK)] = MARK[:hidden_size]
    return rows


def made_by(backend: Backend, rows: Array) -> bool:
    """Whether rows [tokens, hidden] of any float type are marked as, and only as, those of ``backend`` are."""
    is_marked = bool((rows[:, : len(MARK)] == MARK[: rows.shape[1]]).all())
    return is_marked == (backend == "simulated")
