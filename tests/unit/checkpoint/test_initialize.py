"""Seeded checkpoints: whole, reproducible, sensible, atomic."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from trichord.checkpoint import initialize
from trichord.checkpoint.digest import weight_digest
from trichord.checkpoint.initialize import init
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.seeded import CHUNK_VALUES, TABLE_STD, seeded_values
from trichord.checkpoint.stored import INDEX_FILE, WEIGHTS_FILE, check_tensors, stored_tensors
from trichord.checkpoint.verify import verify
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig

TINY = PRESETS["tiny"]
TINY_DIGEST = "fe239eea2bf07e9695cf4438378bdddb4602d5477442d6e41fd2a47ab9f9087d"


def values(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.concatenate(list(seeded_values(name, shape, seed))).reshape(shape)


def test_the_checkpoint_is_whole(pristine: Path) -> None:
    verify(pristine)
    assert ModelConfig.read(pristine) == TINY
    assert load_file(pristine / WEIGHTS_FILE).keys() == tensor_shapes(TINY).keys()


def test_a_seed_gives_the_same_weights_on_every_machine(pristine: Path) -> None:
    assert weight_digest(pristine, "") == TINY_DIGEST


def test_another_seed_gives_other_weights(pristine: Path, tmp_path: Path) -> None:
    init(TINY, tmp_path / "other", seed=1)
    assert weight_digest(tmp_path / "other", "vision.") != weight_digest(pristine, "vision.")


def test_a_tensor_depends_on_its_name_not_on_its_neighbours(pristine: Path) -> None:
    name = "audio.audio.blocks.1.mlp.2.weight"
    np.testing.assert_array_equal(load_file(pristine / WEIGHTS_FILE)[name], values(name, (32, 128)))
    assert not np.array_equal(values(name, (32, 128)), values(name.replace("1", "0"), (32, 128)))


def test_norms_are_one_biases_zero_and_matrices_random(pristine: Path) -> None:
    for name, tensor in load_file(pristine / WEIGHTS_FILE).items():
        if tensor.ndim > 1:
            assert tensor.std() > 0.001, name
        elif name.endswith("bias") or name == "vision.resampler.attn.in_proj_bias":
            assert not tensor.any(), name
        else:
            assert (tensor == 1).all(), name


@pytest.mark.parametrize(
    ("name", "shape", "std"),
    [
        ("llm.model.layers.0.mlp.down_proj.weight", (300, 700), 700**-0.5),
        ("audio.audio.conv1.weight", (500, 80, 3), 240**-0.5),
        ("llm.model.embed_tokens.weight", (1000, 64), TABLE_STD),
        ("vision.resampler.proj", (400, 500), TABLE_STD * 400**-0.5),
    ],
)
def test_matrices_keep_the_scale_of_what_they_multiply(name: str, shape: tuple[int, ...], std: float) -> None:
    sample = values(name, shape)
    assert sample.std() == pytest.approx(std, rel=0.02)
    assert abs(sample.mean()) < 0.02 * std
    assert np.abs(sample).max() <= 3**0.5 * std * 1.001


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_values_fill_the_shape(shape: list[int]) -> None:
    assert values("llm.x.weight", tuple(shape)).dtype == np.float32


def test_large_tensors_come_in_bounded_pieces() -> None:
    sizes = [chunk.size for chunk in seeded_values("llm.x.weight", (3, CHUNK_VALUES // 2 + 1), 0)]
    assert sizes == [CHUNK_VALUES, CHUNK_VALUES // 2 + 3]


def test_bfloat16_is_stored_as_such_and_progress_adds_up(tmp_path: Path) -> None:
    done: list[int] = []
    init(TINY.model_copy(update={"dtype": "bfloat16"}), tmp_path / "half", 0, done.append)
    assert {tensor.dtype for tensor in stored_tensors(tmp_path / "half").values()} == {"BF16"}
    assert sum(done) == 2 * sum(np.prod(shape, dtype=int) for shape in tensor_shapes(TINY).values())


def test_large_checkpoints_are_sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialize, "MAX_SHARD_BYTES", 300_000)
    init(TINY, tmp_path / "sharded", seed=0)
    verify(tmp_path / "sharded")
    files = set(json.loads((tmp_path / "sharded" / INDEX_FILE).read_text())["weight_map"].values())
    assert len(files) > 2
    assert files == {path.name for path in (tmp_path / "sharded").glob("*.safetensors")}
    check_tensors(tensor_shapes(TINY), stored_tensors(tmp_path / "sharded"))


def test_what_is_there_is_not_overwritten(tiny: Path) -> None:
    before = (tiny / WEIGHTS_FILE).read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        init(TINY, tiny, seed=1)
    assert (tiny / WEIGHTS_FILE).read_bytes() == before


def test_failing_halfway_leaves_nothing(tmp_path: Path) -> None:
    def fail(_num_bytes: int) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        init(TINY, tmp_path / "checkpoints" / "tiny", 0, fail)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".tiny.lock"]


def test_a_vocabulary_too_small_for_bytes_is_refused(tmp_path: Path) -> None:
    small = TINY.model_copy(update={"llm": TINY.llm.model_copy(update={"vocab_size": 267})})
    with pytest.raises(CheckpointError, match="at least 268"):
        init(small, tmp_path / "small", seed=0)
