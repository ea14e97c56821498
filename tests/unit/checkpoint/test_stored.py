"""Which files of a directory are read, and indices that lie."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.stored import INDEX_FILE, WEIGHTS_FILE, check_tensors, stored_tensors
from trichord.errors import CheckpointError

NORM = "llm.model.norm.weight"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Two files and an index of them."""
    save_file({"llm.a": np.zeros(2, np.float32)}, tmp_path / "model-1.safetensors")
    save_file({"vision.b": np.ones(3, np.float32)}, tmp_path / "model-2.safetensors")
    write_index(tmp_path, {"llm.a": "model-1.safetensors", "vision.b": "model-2.safetensors"})
    return tmp_path


def write_index(directory: Path, weight_map: object) -> None:
    (directory / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def test_a_checkpoint_of_one_file_holds_what_its_config_says(pristine: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in stored_tensors(pristine).items()}
    assert shapes == tensor_shapes(PRESETS["tiny"])


def test_an_index_joins_files(sharded: Path) -> None:
    tensors = stored_tensors(sharded)
    assert {name: tensor.path.name for name, tensor in tensors.items()} == {
        "llm.a": "model-1.safetensors",
        "vision.b": "model-2.safetensors",
    }
    assert stored_tensors(sharded, "vision.").keys() == {"vision.b"}


@pytest.mark.parametrize(
    "name",
    [
        "../model-1.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "model-1.bin",
        ".safetensors",
        "a\n.safetensors",
        3,
        "",
    ],
)
def test_an_index_cannot_name_other_files(sharded: Path, name: object) -> None:
    write_index(sharded, {"llm.a": name})
    with pytest.raises(CheckpointError) as caught:
        stored_tensors(sharded)
    assert caught.value.tensor == "llm.a"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": []}', b"\x80\x04}", b"[" * 100_000])
def test_a_malformed_index_is_an_error(sharded: Path, content: bytes) -> None:
    (sharded / INDEX_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        stored_tensors(sharded)


def test_a_missing_file_of_an_index_is_named(sharded: Path) -> None:
    (sharded / "model-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-2\.safetensors is missing"):
        stored_tensors(sharded)


def test_a_tensor_that_the_index_promises_is_missed(sharded: Path) -> None:
    write_index(
        sharded, {"llm.a": "model-1.safetensors", "vision.b": "model-2.safetensors", "x": "model-2.safetensors"}
    )
    with pytest.raises(CheckpointError) as caught:
        stored_tensors(sharded)
    assert caught.value.tensor == "x"


def test_a_tensor_that_the_index_hides_is_found(sharded: Path) -> None:
    save_file({"vision.b": np.ones(3, np.float32), "evil": np.ones(1, np.float32)}, sharded / "model-2.safetensors")
    with pytest.raises(CheckpointError) as caught:
        stored_tensors(sharded)
    assert caught.value.tensor == "evil"


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "model.pth", "weights.pkl", "model.ckpt"])
def test_pickles_are_refused_and_not_opened(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match=f"{file} is not safetensors"):
        stored_tensors(tmp_path)


def test_an_empty_directory_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Pull or init"):
        stored_tensors(tmp_path)


def test_rotary_tables_are_left_out(tiny: Path) -> None:
    tensors = load_file(tiny / WEIGHTS_FILE)
    tensors["llm.model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
    save_file(tensors, tiny / WEIGHTS_FILE)
    check_tensors(tensor_shapes(PRESETS["tiny"]), stored_tensors(tiny))
    assert len(stored_tensors(tiny)) == len(tensors) - 1


@pytest.mark.parametrize(
    ("change", "tensor", "words"),
    [
        (lambda tensors: tensors.pop(NORM), NORM, "missing"),
        (lambda tensors: tensors.update({"llm.extra": np.ones(1, np.float32)}), "llm.extra", "does not belong"),
        (lambda tensors: tensors.update({NORM: np.ones((8, 8), np.float32)}), NORM, r"\[8, 8\]; it must have \[64\]"),
    ],
    ids=["missing", "extra", "mis-shaped"],
)
def test_a_tensor_that_is_wrong_is_named(tiny: Path, change: object, tensor: str, words: str) -> None:
    tensors = load_file(tiny / WEIGHTS_FILE)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, tiny / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match=words) as caught:
        check_tensors(tensor_shapes(PRESETS["tiny"]), stored_tensors(tiny))
    assert caught.value.tensor == tensor
    assert tensor in caught.value.message
