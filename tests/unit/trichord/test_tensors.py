"""Tensors on the wire: round trips, bfloat16's own words, and everything that does not agree."""

from __future__ import annotations

import struct
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trichord.errors import RequestError
from trichord.tensors import BFLOAT16, check_embedding, from_proto, to_proto
from trichord.v1 import tensor_pb2

FLOAT32, BF16 = tensor_pb2.DATA_TYPE_FLOAT32, tensor_pb2.DATA_TYPE_BFLOAT16
INT32, UINT8 = tensor_pb2.DATA_TYPE_INT32, tensor_pb2.DATA_TYPE_UINT8

shapes = hnp.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3)
plain_arrays = st.sampled_from([np.float32, np.int32, np.uint8]).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
bfloat16_arrays = hnp.arrays(np.uint16, shapes).map(lambda words: words.view(BFLOAT16))


@hypothesis.given(plain_arrays | bfloat16_arrays)
def test_an_array_comes_back_bit_for_bit(array: np.ndarray[Any, Any]) -> None:
    wire = tensor_pb2.Tensor.FromString(to_proto(array).SerializeToString())
    back = from_proto(wire, "values")
    assert (back.shape, back.dtype) == (array.shape, array.dtype)
    assert back.tobytes() == array.tobytes()


@hypothesis.given(hnp.arrays(np.float32, (3, 4)))
def test_the_order_in_memory_does_not_matter(array: np.ndarray[Any, Any]) -> None:
    for view in (array.T, array[::2, ::-1], np.asfortranarray(array)):
        assert to_proto(view) == to_proto(np.ascontiguousarray(view))


@pytest.mark.parametrize(
    ("array", "dtype", "data"),
    [
        (np.array([1.5, -2], np.float32), FLOAT32, struct.pack("<2f", 1.5, -2)),
        (np.array([1, -2], np.int32), INT32, struct.pack("<2i", 1, -2)),
        (np.array([1, 255], np.uint8), UINT8, b"\x01\xff"),
        # bfloat16 is the upper half of a float32: 1.5 = 0x3FC00000, -2 = 0xC0000000, 3.140625 = 0x40490000.
        (np.array([1.5, -2, 3.140625], BFLOAT16), BF16, bytes.fromhex("c03f 00c0 4940")),
    ],
)
def test_the_words_of_the_wire(array: np.ndarray[Any, Any], dtype: int, data: bytes) -> None:
    tensor = to_proto(array)
    assert (tensor.dtype, list(tensor.shape), tensor.data) == (dtype, [len(array)], data)
    assert from_proto(tensor, "values").tolist() == array.tolist()


@hypothesis.given(hnp.arrays(np.uint32, 8))
def test_bfloat16_words_are_upper_halves_of_float32(words: np.ndarray[Any, Any]) -> None:
    exact = words & np.uint32(0xFFFF0000)
    tensor = tensor_pb2.Tensor(dtype=BF16, shape=[8], data=(exact >> 16).astype("<u2").tobytes())
    floats = exact.view(np.float32)
    np.testing.assert_array_equal(from_proto(tensor, "values").astype(np.float32), floats)


@pytest.mark.parametrize("dtype", ["f8", "f2", "i8", "?", ">f4", "c8"])
def test_a_type_without_a_wire_form_is_a_bug(dtype: str) -> None:
    with pytest.raises(KeyError):
        to_proto(np.zeros(1, dtype))


def test_what_was_read_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        from_proto(to_proto(np.zeros(2, np.float32)), "values")[0] = 1


TOO_LONG = [1] * 9
BAD = [
    (0, [1], b"\0\0\0\0", "dtype"),
    (99, [1], b"\0\0\0\0", "dtype"),
    (FLOAT32, [2], b"\0\0\0\0", "data"),
    (FLOAT32, [1], b"\0\0\0\0\0", "data"),
    (FLOAT32, [], b"", "data"),
    (FLOAT32, [0], b"\0", "data"),
    (BF16, [1], b"\0", "data"),
    (UINT8, [1 << 62, 1 << 62], b"", "data"),
    (FLOAT32, [1 << 62], b"\0\0\0\0", "data"),
    (FLOAT32, [-1], b"", "shape"),
    (FLOAT32, [-1, -1], b"\0\0\0\0", "shape"),
    (FLOAT32, [-(1 << 63)], b"", "shape"),
    (FLOAT32, TOO_LONG, b"\0\0\0\0", "shape"),
    (FLOAT32, [0, (1 << 63) - 1], b"", "shape"),
    (FLOAT32, [0, 1 << 62, 1 << 62], b"", "shape"),
]


@pytest.mark.parametrize(("dtype", "shape", "data", "part"), BAD)
def test_a_tensor_that_does_not_agree_with_itself(dtype: int, shape: list[int], data: bytes, part: str) -> None:
    tensor = tensor_pb2.Tensor(dtype=dtype, shape=shape, data=data)  # type: ignore[arg-type]
    with pytest.raises(RequestError) as caught:
        from_proto(tensor, "messages[0].parts[1].embedding.values")
    assert caught.value.field == f"messages[0].parts[1].embedding.values.{part}"


@hypothesis.given(
    dtype=st.integers(-1, 6),
    shape=st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 4)),
    data=st.binary(),
)
def test_any_tensor_is_an_array_or_a_refusal(dtype: int, shape: list[int], data: bytes) -> None:
    tensor = tensor_pb2.Tensor(dtype=dtype, shape=shape, data=data)  # type: ignore[arg-type]
    try:
        array, field = from_proto(tensor, "values"), None
    except RequestError as error:
        array, field = None, error.field
    if array is None:
        assert field in ("values.dtype", "values.shape", "values.data")
    else:
        assert (list(array.shape), array.tobytes()) == (shape, data)


# Embeddings


def embedding(values: np.ndarray[Any, Any]) -> tensor_pb2.Embedding:
    return tensor_pb2.Embedding(values=to_proto(values))


@pytest.mark.parametrize("dtype", [np.float32, BFLOAT16])
def test_the_rows_of_a_good_embedding(dtype: Any) -> None:
    rows = np.arange(12).reshape(3, 4).astype(dtype)
    checked = check_embedding(embedding(rows), hidden_size=4, field="e")
    assert checked.dtype == dtype
    assert checked.tolist() == rows.tolist()


ROWS = np.ones((3, 4), np.float32)


def spoilt(value: float, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    rows = ROWS.astype(dtype)
    rows[2, 1] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (ROWS.astype(np.int32), "dtype"),
        (ROWS.astype(np.uint8), "dtype"),
        (ROWS[0], "shape"),
        (ROWS[None], "shape"),
        (ROWS[:, :3], "shape"),
        (ROWS[:0], "shape"),
        (spoilt(float("nan")), "data"),
        (spoilt(float("inf")), "data"),
        (spoilt(float("-inf")), "data"),
        (spoilt(float("nan"), BFLOAT16), "data"),
        (spoilt(float("inf"), BFLOAT16), "data"),
    ],
)
def test_an_embedding_that_a_decoder_could_not_take(rows: np.ndarray[Any, Any], part: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_embedding(embedding(rows), hidden_size=4, field="messages[0].parts[1].embedding")
    assert caught.value.field == f"messages[0].parts[1].embedding.values.{part}"


def test_an_embedding_without_rows() -> None:
    with pytest.raises(RequestError) as caught:
        check_embedding(tensor_pb2.Embedding(), hidden_size=4, field="e")
    assert caught.value.field == "e.values.dtype"
