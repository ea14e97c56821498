"""What runs have learnt becomes the file that a checkpoint is pulled with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tests.unit.checkpoint import trained_lab
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.trained import Trained
from trichord.errors import CheckpointError, TrainingError
from trichord_training.recipe import Recipe
from trichord_training.run_state import RunState
from trichord_training.ship import METADATA_KEY, ship

SHAPES = tensor_shapes(PRESETS["tiny"])
KEY = "llm.model.layers.0.self_attn.k_proj.weight"


def run(directory: Path, tensors: Mapping[str, torch.Tensor], preset: str = "tiny") -> Path:
    """A run that has ended."""
    directory.mkdir()
    recipe = Recipe(phase="see", preset=preset, steps=3, batch_size=1, learning_rate=0.1, seed=4)
    RunState(nn.Linear(1, 1), [], recipe.model_dump_json(), step=3).save(directory)
    (directory / "figures.jsonl").write_text('{"step": 2, "loss": 9}\n{"step": 3, "loss": 0.5}\n')
    save_file({name: value.float() for name, value in tensors.items()}, directory / "tensors.safetensors")
    return directory


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A run that has learnt all that no package has."""
    return run(tmp_path / "first", trained_lab.whole(SHAPES))


def test_later_runs_go_before_earlier_ones(first: Path, tmp_path: Path) -> None:
    query = trained_lab.random(*SHAPES["vision.resampler.query"], seed=9)
    change = trained_lab.pair(KEY, SHAPES[KEY])
    second = run(tmp_path / "second", {"vision.resampler.query": query, **change})
    file = ship([first, second], tmp_path / "new" / "tiny.safetensors")
    expected = {**trained_lab.whole(SHAPES), "vision.resampler.query": query, **change}
    shipped = load_file(file)
    assert shipped.keys() == expected.keys()
    for name, tensor in expected.items():
        assert shipped[name].dtype == torch.bfloat16
        assert torch.equal(shipped[name], tensor), name
    assert Trained.read(file, SHAPES).whole.keys() == trained_lab.whole(SHAPES).keys()


def test_the_header_tells_recipes_steps_and_last_figures(first: Path, tmp_path: Path) -> None:
    with safe_open(ship([first], tmp_path / "tiny.safetensors"), "pt") as file:
        about = json.loads(file.metadata()[METADATA_KEY])
    (told,) = about["runs"]
    assert (about["preset"], told["steps"], told["figures"]) == ("tiny", 3, {"step": 3, "loss": 0.5})
    assert (told["recipe"]["phase"], told["recipe"]["seed"]) == ("see", 4)
    assert len(about["date"]) == len("2026-01-01")


def test_what_could_not_be_pulled_replaces_nothing(first: Path, tmp_path: Path) -> None:
    file = tmp_path / "tiny.safetensors"
    before = ship([first], file).read_bytes()
    half = run(tmp_path / "half", {"vision.resampler.query": trained_lab.random(16, 64)})
    with pytest.raises(CheckpointError, match="is missing"):
        ship([half], file)
    broken = run(tmp_path / "broken", {"vision.resampler.query": torch.full((16, 64), torch.nan)})
    with pytest.raises(CheckpointError, match=r"vision\.resampler\.query has values that are not finite"):
        ship([first, broken], file)
    assert file.read_bytes() == before
    assert not file.with_suffix(".part").exists()


def test_runs_of_two_presets_are_not_mixed(first: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="these runs are of demo, tiny"):
        ship([first, run(tmp_path / "other", {}, preset="demo")], tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("state.safetensors", "first is not a run"),
        ("figures.jsonl", "first is not a run"),
        ("tensors.safetensors", "first has no tensors to ship"),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"no"])
def test_what_is_no_run_is_said(first: Path, tmp_path: Path, missing: str, words: str, content: bytes | None) -> None:
    (first / missing).unlink()
    if content is not None:
        (first / missing).write_bytes(content)
    with pytest.raises(TrainingError, match=words):
        ship([first], tmp_path / "a.safetensors")
