"""The file format: both ways against the safetensors library, and files that lie."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from trichord.checkpoint.safetensors_file import CHUNK_BYTES, DTYPES, MAX_HEADER_BYTES, read_header, write
from trichord.errors import CheckpointError

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

same_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)

arrays = st.builds(
    lambda dtype, shape, seed: np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype]),
    st.sampled_from(["F32", "F16", "BF16"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.integers(0, 2**32),
)
names = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1).filter(lambda name: name != "__metadata__")


def raw(path: Path, header: Any, data: bytes = b"", header_size: int | None = None) -> Path:
    """A file with that header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if header_size is None else header_size
    path.write_bytes(size.to_bytes(8, "little") + text + data)
    return path


def stored_dtype(array: np.ndarray) -> str:
    return next(name for name, dtype in DTYPES.items() if dtype == array.dtype)


@same_directory
@given(tensors=st.dictionaries(names, arrays, max_size=6))
def test_the_library_reads_what_we_write(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "ours.safetensors"
    write(path, {n: (stored_dtype(a), a.shape) for n, a in tensors.items()}, tensors.values())
    theirs = load_file(path)
    assert theirs.keys() == tensors.keys()
    for name, array in tensors.items():
        assert theirs[name].dtype == array.dtype
        np.testing.assert_array_equal(theirs[name], array)


@same_directory
@given(tensors=st.dictionaries(names, arrays, max_size=6))
def test_we_read_what_the_library_writes(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert header.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (header[name].dtype, header[name].shape) == (stored_dtype(array), array.shape)
        assert b"".join(header[name].chunks()) == array.tobytes()


def test_data_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    values = np.arange(CHUNK_BYTES // 4 + 1, dtype="<f4")
    save_file({"a": values}, tmp_path / "a.safetensors")
    chunks = list(read_header(tmp_path / "a.safetensors")["a"].chunks())
    assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES, 4]
    assert b"".join(chunks) == values.tobytes()


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.safetensors", {"a": F32}, bytes(8))
    tensor = read_header(path)["a"]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="changed"):
        list(tensor.chunks())


@pytest.mark.parametrize(
    ("entry", "data_bytes"),
    [
        (F32 | {"data_offsets": [0, 1 << 40]}, 8),
        (F32 | {"data_offsets": [0, 4]}, 8),
        (F32 | {"data_offsets": [4, 12]}, 12),
        (F32 | {"data_offsets": [8, 0]}, 8),
        (F32 | {"shape": [1 << 40]}, 8),
        (F32 | {"shape": [-2]}, 8),
        (F32 | {"shape": [2.0]}, 8),
        (F32 | {"shape": [True, 2]}, 8),
        (F32 | {"shape": [1] * 9 + [2]}, 8),
        (F32 | {"dtype": "I64"}, 8),
        (F32 | {"dtype": 3}, 8),
        (F32 | {"code": "import os"}, 8),
        ({"dtype": "F32", "shape": [2]}, 8),
        (F32, 4),
        ([], 8),
        (None, 8),
    ],
)
def test_an_entry_that_lies_is_named(tmp_path: Path, entry: Any, data_bytes: int) -> None:
    path = raw(tmp_path / "a.safetensors", {"llm.bad": entry}, bytes(data_bytes))
    with pytest.raises(CheckpointError, match=r"llm\.bad") as caught:
        read_header(path)
    assert caught.value.tensor == "llm.bad"


def test_tensors_that_share_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_header(raw(tmp_path / "a.safetensors", {"a": F32, "b": F32}, bytes(8)))
    assert caught.value.tensor == "b"


def test_bytes_of_no_tensor_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="4 bytes that belong to no tensor"):
        read_header(raw(tmp_path / "a.safetensors", {"a": F32}, bytes(12)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        pickle.dumps({"llm.model.norm.weight": [1.0, 2.0]}),
        b"PK\x03\x04" + bytes(100),
        (1 << 63).to_bytes(8, "little") + b"{}",
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * 64,
        (3).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"\xff\xff",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (60).to_bytes(8, "little") + b'{"a":1,"a":1}'.ljust(60),
    ],
)
def test_what_is_no_safetensors_file_is_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_header(path)


@same_directory
@given(position=st.integers(0, 400), value=st.binary(min_size=1, max_size=8))
@example(position=0, value=b"\xff" * 8)
def test_no_damage_lets_a_tensor_out_of_its_file(tmp_path: Path, position: int, value: bytes) -> None:
    path = tmp_path / "damaged.safetensors"
    save_file({f"t{i}": np.zeros((i, 3), ml_dtypes.bfloat16) for i in range(4)}, path)
    content = bytearray(path.read_bytes())
    content[position : position + len(value)] = value
    path.write_bytes(content)
    try:
        header = read_header(path)
    except CheckpointError:
        return
    for tensor in header.values():
        assert 8 <= tensor.start <= tensor.start + tensor.num_bytes <= len(content)
        assert tensor.num_bytes == math.prod(tensor.shape) * DTYPES[tensor.dtype].itemsize


def test_writing_less_than_announced_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"):
        write(tmp_path / "a.safetensors", {"a": ("F32", (2,))}, [np.zeros(1, np.float32)])
