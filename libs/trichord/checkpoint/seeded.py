"""Seeded random tensors: the same name, shape and seed give the same bits on every machine and with every numpy.

Norms are 1 and 0, biases 0, matrices keep the scale of what they multiply (std 1 / sqrt(inputs)). Knows no file.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

CHUNK_VALUES = 1 << 20

TABLE_STD = 0.02
"""Spread of embedding tables, as LLaMA and SigLIP initialise them."""

_NORM = re.compile(r".*(norm\d?|_ln|\.ln_[a-z]+)\.weight")
_TABLES = ("embed_tokens.weight", "position_embedding.weight", "positional_embedding", "query", "bos_eos_token.weight")
_CONNECTORS = ("vision.resampler.proj", "audio.audio.proj.weight", "audio.audio.proj.rows.weight")


def seeded_values(
    name: str, shape: tuple[int, ...], seed: int, table_std: float = TABLE_STD
) -> Iterator[npt.NDArray[np.float32]]:
    """The values of a tensor in C order, in chunks of at most CHUNK_VALUES.

    ``table_std`` is the spread of token embeddings, and so of the rows of media that stand among them.
    """
    mean, std = float(bool(_NORM.fullmatch(name))), _std(name, shape, table_std)
    # Uniform from raw bits: numpy keeps the streams of bit generators for ever, those of distributions not (NEP 19).
    scale = np.float32(std * math.sqrt(3) * 2.0**-23)
    bits = np.random.PCG64(int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest(), "little"))
    left = math.prod(shape)
    while left:
        count = min(left, CHUNK_VALUES)
        left -= count
        if std:
            words = bits.random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
            yield ((words >> 8).astype(np.float32) - np.float32(1 << 23)) * scale
        else:
            yield np.full(count, mean, np.float32)


def _std(name: str, shape: tuple[int, ...], table_std: float) -> float:
    if len(shape) == 1:
        return 0.0
    if name.endswith(_TABLES):
        return table_std
    inputs = shape[0] if name == "vision.resampler.proj" else math.prod(shape[1:])  # applied as x @ proj
    return (table_std if name in _CONNECTORS else 1.0) / math.sqrt(inputs)
