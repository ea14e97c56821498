"""One safetensors file: its header read with every bound checked, and a file written piece by piece.

The format is an 8-byte little-endian header size, a JSON header, and the tensors' bytes without gaps
(huggingface/safetensors, README "Format"). Tensors are numpy arrays in chunks; nothing is ever unpickled. Knows nothing
of models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from trichord.errors import CheckpointError
from trichord.model_config import Dtype
from trichord.tensors import BFLOAT16, Array

MAX_HEADER_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 4 * 1024 * 1024

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
}
"""numpy's type of each type that a checkpoint may store."""

STORED_AS: dict[Dtype, str] = {"float32": "F32", "bfloat16": "BF16"}
"""Stored type of each type of a config."""

_SIZE_BYTES = 8
_ALIGNMENT_BYTES = 64  # of the first tensor: one cache line, so that a mapped file needs no copy

_Count = Annotated[int, Field(ge=0, le=1 << 48)]


class _Entry(BaseModel):
    """A tensor as the header describes it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    dtype: str
    shape: list[_Count] = Field(max_length=8)
    data_offsets: tuple[_Count, _Count] = Field(strict=False)


_HEADER = TypeAdapter(dict[str, _Entry])


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies and what it is."""

    path: Path
    start: int
    """Offset of its first byte in the file."""
    dtype: str
    """A key of DTYPES."""
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Size of its data."""
        return num_bytes(self.dtype, self.shape)

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, at most CHUNK_BYTES at a time. Raises CheckpointError if the file has shrunk."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.num_bytes
            while left:
                chunk = file.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise CheckpointError(f"{self.path.name} changed while it was read.")
                left -= len(chunk)
                yield chunk


def num_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor takes; ``dtype`` is a key of DTYPES."""
    return math.prod(shape) * DTYPES[dtype].itemsize


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of a file, by name. Raises CheckpointError naming the file, and the tensor where one is wrong."""
    file_size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(_SIZE_BYTES), "little")
        if not 2 <= header_size <= min(MAX_HEADER_BYTES, file_size - _SIZE_BYTES):
            raise CheckpointError(f"{path.name} is not a safetensors file, or it is truncated.")
        entries = _parse(file.read(header_size), path.name)
    data_start = _SIZE_BYTES + header_size
    _check_layout(entries, file_size - data_start, path.name)
    return {
        name: StoredTensor(path, data_start + entry.data_offsets[0], entry.dtype, tuple(entry.shape))
        for name, entry in entries.items()
    }


def write(path: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], chunks: Iterable[Array]) -> None:
    """Writes a file of ``tensors`` (name -> dtype, shape); ``chunks`` are their data, one after another."""
    offset, header = 0, {}
    for name, (dtype, shape) in tensors.items():
        end = offset + num_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (offset, end)}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(_SIZE_BYTES + len(text)) % _ALIGNMENT_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_SIZE_BYTES, "little") + text)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk).view(np.uint8).data)
        if file.tell() != _SIZE_BYTES + len(text) + offset:
            raise ValueError("the chunks are not the tensors that were announced")


def _parse(text: bytes, file: str) -> dict[str, _Entry]:
    try:
        header = json.loads(text, object_pairs_hook=_without_duplicates)
        if isinstance(header, dict):
            header.pop("__metadata__", None)  # free text of whoever wrote the file
        return _HEADER.validate_python(header)
    except ValidationError as error:
        tensor = str(next(iter(error.errors()[0]["loc"]), ""))
        raise CheckpointError(f"{file}: the header's entry {tensor!r} is malformed.", tensor=tensor) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not a safetensors file: its header is not JSON.") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a key comes twice")
    return unique


def _check_layout(entries: Mapping[str, _Entry], data_size: int, file: str) -> None:
    """Data sizes fit shapes, and tensors follow one another from the first byte to the last."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        if entry.dtype not in DTYPES:
            raise CheckpointError(f"{file}: {name} is of a type that is not {' / '.join(DTYPES)}.", tensor=name)
        start, end = entry.data_offsets
        if start != position or end - start != num_bytes(entry.dtype, tuple(entry.shape)):
            raise CheckpointError(f"{file}: {name} does not lie where its shape says.", tensor=name)
        if end > data_size:
            raise CheckpointError(f"{file} is truncated: {name} ends beyond the file.", tensor=name)
        position = end
    if position != data_size:
        raise CheckpointError(f"{file} has {data_size - position} bytes that belong to no tensor.")
