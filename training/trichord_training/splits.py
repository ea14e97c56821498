"""What belongs to which set: fonts, voices and texts are never shared between train, validation and test.

Knows no fonts, voices or texts; only how a name is given to a set, the same on every machine.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_TENTHS: dict[int, Split] = {0: "validation", 1: "test"}


def split_of(text: str) -> Split:
    """The set that a text belongs to: of all texts a tenth is for validation, a tenth for test."""
    return _TENTHS.get(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % 10, "train")


def sample_rng(seed: int, split: Split, index: int) -> np.random.Generator:
    """The chance of one sample: the same for a seed, a set and an index, whatever was drawn before."""
    return np.random.default_rng((seed, SPLITS.index(split), index))
