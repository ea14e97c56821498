"""Trained tensors: what training changed of a checkpoint, in one safetensors file that is laid over the rest.

A tensor under its own name replaces the one there was. ``NAME.lora_a`` [rank, in] and ``NAME.lora_b`` [out, rank] are
added to it as their product, NAME + lora_b @ lora_a (low-rank adaptation, arXiv 2106.09685, section 4.1, already
scaled). Knows nothing of what was trained, or how.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from trichord.checkpoint.layout import Shape
from trichord.checkpoint.manifest import file_sha256
from trichord.checkpoint.safetensors_file import DTYPES, StoredTensor, read_header
from trichord.checkpoint.stored import check_tensors
from trichord.errors import CheckpointError
from trichord.tensors import Array

MAX_BYTES = 60_000_000
"""Most that a file may take: it is part of the repository."""

UNPACKAGED = ("vision.", "audio.audio.proj.", "audio.audio.audio_bos_eos_token.")
"""Prefixes of the tensors that no package has: a file of trained tensors must have all of them."""

_DOWN, _UP = ".lora_a", ".lora_b"
_SHIPPED = Path(__file__).parent / "trained"


def shipped(preset: str) -> Path:
    """Where the trained tensors of a preset are installed."""
    return _SHIPPED / f"{preset}.safetensors"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file of trained tensors. Raises CheckpointError if it is missing or too large."""
    if not path.is_file():
        advice = "Pull where Trichord was installed from its wheel or repository."
        raise CheckpointError(f"This installation has no trained tensors: {path.name} is missing. {advice}")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(f"{path.name} is larger than {MAX_BYTES} bytes.")
    return file_sha256(path)


@dataclass(frozen=True)
class Trained:
    """The trained tensors of one checkpoint; none by default."""

    whole: Mapping[str, Array] = field(default_factory=dict)
    factors: Mapping[str, Array] = field(default_factory=dict)
    """Low-rank factors, by their own names: always both of a tensor's."""

    @classmethod
    def read(cls, path: Path, shapes: Mapping[str, Shape]) -> Self:
        """Reads a file for a checkpoint whose tensors have ``shapes``.

        Raises CheckpointError if it is broken, and naming the tensor that is missing, unknown, mis-shaped, replaced and
        changed, or not finite.
        """
        stored = read_header(path)
        whole = {name: tensor for name, tensor in stored.items() if not name.endswith((_DOWN, _UP))}
        factors = {name: tensor for name, tensor in stored.items() if name not in whole}
        check_tensors({name: shapes[name] for name in shapes if name in whole or name.startswith(UNPACKAGED)}, whole)
        changed = sorted({name.rpartition(".")[0] for name in factors})
        if twice := whole.keys() & {*changed}:
            raise CheckpointError(f"Tensor {min(twice)} is replaced and changed. It can be one.", tensor=min(twice))
        expected = [_factor_shapes(name, shapes, factors) for name in changed]
        check_tensors({name: shape for pair in expected for name, shape in pair.items()}, factors)
        return cls({name: _values(name, whole[name]) for name in whole}, {n: _values(n, factors[n]) for n in factors})

    def over(self, name: str, shape: Shape, base: Iterable[Array]) -> Iterator[Array]:
        """The values of a tensor, from the chunks it had before training; a changed one keeps their type.

        Raises CheckpointError if the sum is not finite.
        """
        if name in self.whole:
            yield self.whole[name]
        elif name + _DOWN in self.factors:
            yield self._changed(name, np.concatenate([chunk.ravel() for chunk in base]).reshape(shape))
        else:
            yield from base

    def _changed(self, name: str, base: Array) -> Array:
        up, down = (self.factors[name + suffix].astype(np.float32) for suffix in (_UP, _DOWN))
        with np.errstate(over="ignore", invalid="ignore"):  # told below, by name
            return _finite(name, (base.astype(np.float32) + up @ down).astype(base.dtype))


def _factor_shapes(name: str, shapes: Mapping[str, Shape], factors: Mapping[str, StoredTensor]) -> dict[str, Shape]:
    """What the two factors of a tensor's change must be, of the rank that the first of them has."""
    first = name + _DOWN if name + _DOWN in factors else name + _UP
    if len(shapes.get(name, ())) != 2:
        raise CheckpointError(f"Tensor {first} does not belong here.", tensor=first)
    num_outputs, num_inputs = shapes[name]
    rank = min(factors[first].shape, default=0)
    if not 1 <= rank <= min(num_outputs, num_inputs):
        raise CheckpointError(f"Tensor {first} has rank {rank}; {name} cannot be changed by that.", tensor=first)
    return {name + _DOWN: (rank, num_inputs), name + _UP: (num_outputs, rank)}


def _values(name: str, tensor: StoredTensor) -> Array:
    return _finite(name, np.frombuffer(b"".join(tensor.chunks()), DTYPES[tensor.dtype]).reshape(tensor.shape))


def _finite(name: str, values: Array) -> Array:
    if not np.isfinite(values).all():
        raise CheckpointError(f"Tensor {name} has values that are not finite.", tensor=name)
    return values
