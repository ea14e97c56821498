"""Tensors between numpy and the wire.

bfloat16 is ``ml_dtypes.bfloat16`` in numpy and raw 2-byte words on the wire. Everything read from the wire is checked
before it is looked at. Knows nothing of what a tensor means.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from trichord.errors import RequestError
from trichord.model_config import Dtype
from trichord.v1 import tensor_pb2

Array = npt.NDArray[Any]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

NUMPY_DTYPES: dict[Dtype, np.dtype[Any]] = {"float32": np.dtype(np.float32), "bfloat16": BFLOAT16}
"""What a tower's values are in numpy, by the type that it runs in."""

MAX_DIMENSIONS = 8

_DTYPES: dict[int, np.dtype[Any]] = {
    tensor_pb2.DATA_TYPE_FLOAT32: np.dtype("<f4"),
    tensor_pb2.DATA_TYPE_BFLOAT16: BFLOAT16,
    tensor_pb2.DATA_TYPE_INT32: np.dtype("<i4"),
    tensor_pb2.DATA_TYPE_UINT8: np.dtype("u1"),
}
_DATA_TYPES = {dtype: data_type for data_type, dtype in _DTYPES.items()}


def to_proto(array: Array) -> tensor_pb2.Tensor:
    """The wire form of an array of any shape. Raises KeyError for a dtype that has no wire form."""
    return tensor_pb2.Tensor(dtype=_DATA_TYPES[array.dtype], shape=array.shape, data=array.tobytes())  # type: ignore[arg-type]


def from_proto(tensor: tensor_pb2.Tensor, field: str) -> Array:
    """The array of a tensor from outside, read-only, without a copy.

    Raises RequestError, naming ``field``, if dtype, shape and data do not agree.
    """
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise RequestError("The tensor's dtype is not one of this API.", field=f"{field}.dtype")
    shape = tuple(tensor.shape)
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise RequestError(f"A tensor has at most {MAX_DIMENSIONS} dimensions, none negative.", field=f"{field}.shape")
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes != len(tensor.data):
        raise RequestError(
            f"Shape and dtype need {num_bytes} bytes of data; there are {len(tensor.data)}.", field=f"{field}.data"
        )
    try:
        return np.frombuffer(tensor.data, dtype=dtype).reshape(shape)
    except ValueError as error:  # empty, with other dimensions beyond what an address can hold
        raise RequestError("The tensor's shape is too large.", field=f"{field}.shape") from error


def check_embedding(embedding: tensor_pb2.Embedding, *, hidden_size: int, field: str) -> Array:
    """The rows [tokens, hidden] of an embedding from outside, known to be of a float dtype, 2-D and finite.

    Raises RequestError naming ``field`` (CVE-2025-62164, CVE-2025-62372: a decoder must survive any tensor).
    """
    values = from_proto(embedding.values, f"{field}.values")
    if values.dtype not in (BFLOAT16, np.float32):
        raise RequestError("Embedding rows are FLOAT32 or BFLOAT16.", field=f"{field}.values.dtype")
    if values.ndim != 2 or values.shape[1] != hidden_size or values.shape[0] == 0:
        raise RequestError(f"Embedding rows have shape [tokens >= 1, {hidden_size}].", field=f"{field}.values.shape")
    if not bool(np.isfinite(values).all()):
        raise RequestError("Embedding rows must be finite.", field=f"{field}.values.data")
    return values
