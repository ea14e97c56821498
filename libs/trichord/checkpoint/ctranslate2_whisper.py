"""Reads a Whisper encoder from a CTranslate2 ``model.bin``: its tensors under our names.

The binary layout is CTranslate2's, version 6 (OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py): version,
specification and revision; the number of variables; each one's name, shape, type and bytes. Strings carry their length
and end in NUL. Every length is checked against the file before it is used. Knows nothing of the decoder.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trichord.errors import CheckpointError
from trichord.tensors import BFLOAT16, Array

BINARY_VERSION = 6
MAX_VARIABLES = 100_000
MAX_DIMENSIONS = 8

_DTYPES = {
    0: np.dtype("<f4"),
    1: np.dtype("i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
    5: BFLOAT16,
}

_OUTER = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "position_encodings/encodings": "positional_embedding",
    "layer_norm/gamma": "ln_post.weight",
    "layer_norm/beta": "ln_post.bias",
}
_INNER = {
    "ffn/layer_norm/gamma": "mlp_ln.weight",
    "ffn/layer_norm/beta": "mlp_ln.bias",
    "ffn/linear_0/weight": "mlp.0.weight",
    "ffn/linear_0/bias": "mlp.0.bias",
    "ffn/linear_1/weight": "mlp.2.weight",
    "ffn/linear_1/bias": "mlp.2.bias",
    "self_attention/layer_norm/gamma": "attn_ln.weight",
    "self_attention/layer_norm/beta": "attn_ln.bias",
    "self_attention/linear_1/weight": "attn.out.weight",
    "self_attention/linear_1/bias": "attn.out.bias",
}
_FUSED = re.compile(r"self_attention/linear_0/(weight|bias)")
_LAYER = re.compile(r"layer_(\d+)/(.+)")


class _Bytes:
    """A mapped file, read from front to back within its bounds."""

    def __init__(self, path: Path) -> None:
        self._data = np.memmap(path, np.uint8, "r")
        self._position = 0

    def take(self, count: int) -> Array:
        if count > len(self._data) - self._position:
            raise CheckpointError("The CTranslate2 file is truncated.")
        self._position += count
        return self._data[self._position - count : self._position]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width).tobytes(), "little")

    def text(self) -> str:
        return self.take(self.number(2)).tobytes().rstrip(b"\0").decode("ascii", "replace")


def read_variables(path: Path) -> dict[str, Array]:
    """Every variable of the file by CTranslate2's name, read-only and mapped. Raises CheckpointError."""
    file = _Bytes(path)
    version, specification = file.number(4), file.text()
    if version != BINARY_VERSION or specification != "WhisperSpec":
        raise CheckpointError(f"{path.name} is not a Whisper of CTranslate2's binary version {BINARY_VERSION}.")
    file.number(4)  # the specification's revision: what changed between them is not in the encoder
    count = file.number(4)
    if count > MAX_VARIABLES:
        raise CheckpointError(f"{path.name} has more than {MAX_VARIABLES} variables.")
    return dict(_variable(file) for _ in range(count))


def encoder_tensors(path: Path) -> dict[str, Array]:
    """The encoder's tensors, float16, by our name (``audio.audio...``)."""
    prefix = "encoder/"
    variables = {n.removeprefix(prefix): v for n, v in read_variables(path).items() if n.startswith(prefix) and v.ndim}
    return {f"audio.audio.{ours}": tensor for name, v in variables.items() for ours, tensor in _renamed(name, v)}


def _variable(file: _Bytes) -> tuple[str, Array]:
    name, dimensions = file.text(), file.number(1)
    if dimensions > MAX_DIMENSIONS:
        raise CheckpointError(f"{name} has more than {MAX_DIMENSIONS} dimensions.", tensor=name)
    shape = tuple(file.number(4) for _ in range(dimensions))
    dtype, num_bytes = _DTYPES.get(file.number(1)), file.number(4)
    if dtype is None or num_bytes != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{name}'s type, shape and size do not agree.", tensor=name)
    return name, file.take(num_bytes).view(dtype).reshape(shape)


def _renamed(name: str, value: Array) -> Iterator[tuple[str, Array]]:
    layer = _LAYER.fullmatch(name)
    if layer is None:
        yield _OUTER[name], value
    elif fused := _FUSED.fullmatch(layer[2]):
        for leaf, part in _split_attention(fused[1], value):
            yield f"blocks.{layer[1]}.attn.{leaf}", part
    else:
        yield f"blocks.{layer[1]}.{_INNER[layer[2]]}", value


def _split_attention(leaf: str, value: Array) -> Iterator[tuple[str, Array]]:
    """Query, key and value, which CTranslate2 stacks. Whisper's key has no bias: there must be zeros in its place."""
    query, key, value_ = np.split(value, 3)
    yield f"query.{leaf}", query
    yield f"value.{leaf}", value_
    if leaf == "weight":
        yield "key.weight", key
    elif np.any(key):
        raise CheckpointError("The attention's keys have a bias; a Whisper's have none.", tensor="self_attention")
