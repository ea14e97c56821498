"""Trained tensors: what is replaced, what is added, and files that lie."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.checkpoint.trained_lab import pair, random, whole, write
from trichord.checkpoint import trained
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.trained import MAX_BYTES, Trained
from trichord.errors import CheckpointError
from trichord.tensors import BFLOAT16

SHAPES = tensor_shapes(PRESETS["tiny"])
QUERY = "llm.model.layers.0.self_attn.q_proj.weight"
TENSORS = {**whole(SHAPES), **pair(QUERY, SHAPES[QUERY])}

Tensors = dict[str, torch.Tensor]


def over(read: Trained, name: str, base: np.ndarray, num_chunks: int = 1) -> np.ndarray:
    """The whole tensor, from chunks that know no shape."""
    values = read.over(name, base.shape, iter(np.array_split(base.ravel(), num_chunks)))
    return np.concatenate([chunk.ravel() for chunk in values]).reshape(base.shape)


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.view(torch.int16).numpy().view(BFLOAT16)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained.read(write(tmp_path_factory.mktemp("trained") / "a.safetensors", TENSORS), SHAPES)


@pytest.mark.parametrize("name", ["vision.resampler.query", "audio.audio.proj.weight"])
def test_a_tensor_under_its_own_name_replaces(read: Trained, name: str) -> None:
    assert (over(read, name, np.zeros(SHAPES[name], BFLOAT16)) == as_numpy(TENSORS[name])).all()


@pytest.mark.parametrize("name", ["llm.model.norm.weight", "audio.audio.conv1.weight", "llm.model.embed_tokens.weight"])
def test_what_was_not_trained_stays(read: Trained, name: str) -> None:
    base = as_numpy(random(*SHAPES[name], seed=7))
    assert (over(read, name, base, 3) == base).all()


@given(
    num_outputs=st.integers(1, 9),
    num_inputs=st.integers(1, 9),
    rank=st.integers(1, 9),
    num_chunks=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_change_is_added_to_what_is_stored(
    num_outputs: int, num_inputs: int, rank: int, num_chunks: int, seed: int
) -> None:
    base = random(num_outputs, num_inputs, seed=seed)
    factors = pair("m", (num_outputs, num_inputs), rank, seed=seed + 1)
    changed = over(Trained(factors={n: as_numpy(t) for n, t in factors.items()}), "m", as_numpy(base), num_chunks)
    exact = base.double() + factors["m.lora_b"].double() @ factors["m.lora_a"].double()
    assert changed.dtype == BFLOAT16
    torch.testing.assert_close(torch.from_numpy(changed.astype(np.float64)), exact, rtol=2**-8, atol=1e-5)


def test_nothing_trained_is_nothing_changed() -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (over(Trained(), QUERY, base) == base).all()


NORM, CONV, KEY = "llm.model.norm.weight", "audio.audio.conv1.weight", "llm.model.layers.0.self_attn.k_proj.weight"
OUT, IN = SHAPES[QUERY]
WRONG: dict[str, tuple[Tensors, set[str], str, str]] = {
    # what is put, what is taken away, the tensor that is named, what is said
    "unknown": ({"llm.other": random(2)}, set(), "llm.other", "does not belong here"),
    "of a name that nothing has": (pair("llm.other", (4, 4)), set(), "llm.other.lora_a", "does not belong here"),
    "no matrix": ({f"{NORM}.lora_b": random(64, 2)}, set(), f"{NORM}.lora_b", "does not belong here"),
    "more than a matrix": (pair(CONV, (32, 80)), set(), f"{CONV}.lora_a", "does not belong here"),
    "untrained": ({}, {"vision.resampler.query"}, "vision.resampler.query", "is missing"),
    "mis-shaped": ({"vision.resampler.query": random(3, 64)}, set(), "vision.resampler.query", "it must have [16, 64]"),
    "a without b": ({}, {f"{QUERY}.lora_b"}, f"{QUERY}.lora_b", "is missing"),
    "b without a": ({}, {f"{QUERY}.lora_a"}, f"{QUERY}.lora_a", "is missing"),
    "other ranks": ({f"{QUERY}.lora_b": random(OUT, 3)}, set(), f"{QUERY}.lora_b", f"it must have [{OUT}, 2]"),
    "turned": ({f"{QUERY}.lora_a": random(IN, 2)}, set(), f"{QUERY}.lora_a", f"it must have [2, {IN}]"),
    "flat": ({f"{QUERY}.lora_a": random(IN)}, set(), f"{QUERY}.lora_a", "it must have [64, 64]"),
    "a number": ({f"{QUERY}.lora_a": random()}, set(), f"{QUERY}.lora_a", "has rank 0"),
    "no rank": (pair(QUERY, (OUT, IN), rank=0), set(), f"{QUERY}.lora_a", "has rank 0"),
    "more rank than it has": (pair(KEY, SHAPES[KEY], rank=60), set(), f"{KEY}.lora_a", "has rank 60"),
    "replaced and changed": ({QUERY: random(OUT, IN)}, set(), QUERY, "is replaced and changed"),
    "not a number": (
        {"vision.resampler.query": torch.full((16, 64), torch.nan, dtype=torch.bfloat16)},
        set(),
        "vision.resampler.query",
        "not finite",
    ),
    "an infinite factor": (
        {f"{QUERY}.lora_a": torch.full((2, IN), torch.inf, dtype=torch.bfloat16)},
        set(),
        f"{QUERY}.lora_a",
        "not finite",
    ),
    "whole numbers": ({"vision.resampler.query": torch.ones(16, 64).int()}, set(), "vision.resampler.query", "a type"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_tensor_is_named(tmp_path: Path, case: str) -> None:
    put, taken, name, words = WRONG[case]
    file = {key: value for key, value in (TENSORS | put).items() if key not in taken}
    with pytest.raises(CheckpointError, match=re.escape(words)) as caught:
        Trained.read(write(tmp_path / "a.safetensors", file), SHAPES)
    assert caught.value.tensor == name
    assert name in caught.value.message


def test_a_sum_that_no_number_holds_is_named() -> None:
    huge = np.full((2, 2), 3e38, BFLOAT16)
    with pytest.raises(CheckpointError, match=r"m has values that are not finite"):
        over(Trained(factors={"m.lora_a": huge, "m.lora_b": huge}), "m", huge)


def test_a_file_that_is_not_there_says_where_it_is_installed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"demo\.safetensors is missing\. Pull where Trichord was installed"):
        trained.sha256(tmp_path / "demo.safetensors")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CheckpointError, match=f"larger than {MAX_BYTES} bytes"):
        trained.sha256(tmp_path / "a.safetensors")


@given(st.data())
def test_a_damaged_file_is_an_error_of_ours_or_finite(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    content = bytearray(write(path, TENSORS).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 2000))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        read = Trained.read(path, SHAPES)
    except CheckpointError:
        return
    assert all(np.isfinite(values).all() for values in (*read.whole.values(), *read.factors.values()))
