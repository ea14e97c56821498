"""A run: its recipe, its state, and that one which was stopped goes on as if it had not been."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trichord.errors import SettingsError, TrainingError
from trichord.model_config import ModelConfig
from trichord_training import see
from trichord_training.base import Base
from trichord_training.curves import draw_curves, read_figures
from trichord_training.loop import FIGURES_FILE, run
from trichord_training.optimizers import adamw, set_rate
from trichord_training.recipe import Recipe
from trichord_training.run_state import STATE_FILE, RunState, tensors_of
from trichord_training.see import See

CONFIGS = Path(__file__).parents[3] / "training" / "configs"
RECIPE = Recipe(
    phase="see", preset="tiny", steps=4, batch_size=2, learning_rate=0.01, encoder_learning_rate=0.01, save_every=2
)


class StoppedError(Exception):
    """What ends a run in its middle."""


class StoppedSee(See):
    """See, which is stopped in its third step: after the second it was saved."""

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        if step == 2:
            raise StoppedError
        return super().loss(step, progress)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch, fonts_to_train_with: None) -> None:
    monkeypatch.setattr(see, "NUM_VALIDATED", 4)
    monkeypatch.setattr(see, "VALIDATED_AT_ONCE", 2)


@pytest.mark.usefixtures("_quick")
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    config: ModelConfig, base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parted, cpu = tmp_path / "whole", tmp_path / "parted", torch.device("cpu")
    run(See(config, base, RECIPE, cpu), RECIPE, whole)
    with pytest.raises(StoppedError):
        run(StoppedSee(config, base, RECIPE, cpu), RECIPE, parted)
    assert [line["step"] for line in read_figures(parted)] == [2]
    run(See(config, base, RECIPE, cpu), RECIPE, parted)
    first, second = load_file(whole / STATE_FILE), load_file(parted / STATE_FILE)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert any(name.startswith("optimizer/0/") for name in first)
    assert (whole / FIGURES_FILE).read_text() == (parted / FIGURES_FILE).read_text()
    assert (whole / "tensors.safetensors").read_bytes() == (parted / "tensors.safetensors").read_bytes()
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("see step ")]
    assert [line.split()[2] for line in told] == ["2", "4", "2", "4"]
    assert "validation_caption" in told[0]


def state(recipe: Recipe = RECIPE, size: int = 3) -> RunState:
    module = nn.Linear(size, 2)
    return RunState(module, [adamw(dict(module.named_parameters()), 0.1)], recipe.model_dump_json(), step=7)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The folder of a state after one step."""
    before = state()
    before.module(torch.ones(1, 3)).sum().backward()
    before.optimizers[0].step()
    before.save(tmp_path)
    return tmp_path


def test_a_state_comes_back_whole(kept: Path) -> None:
    after = state()
    after.step = 0
    assert after.resume(kept)
    assert after.step == 7
    assert torch.equal(after.module.weight, tensors_of(kept)["weight"])  # type: ignore[arg-type]
    assert all(memory["step"] == 1 for memory in after.optimizers[0].state_dict()["state"].values())
    assert not (kept / f"{STATE_FILE}.part").exists()
    assert not state().resume(kept / "elsewhere")


def test_a_state_without_a_field_that_has_a_default_is_the_same_recipe(kept: Path) -> None:
    older = json.dumps({k: v for k, v in json.loads(RECIPE.model_dump_json()).items() if k != "media"})
    before = state()
    before.recipe = older
    before.save(kept)
    assert state().resume(kept)


@pytest.mark.parametrize("other", [RECIPE.model_copy(update={"seed": 1}), RECIPE.model_copy(update={"steps": 5})])
def test_a_state_of_another_recipe_is_refused(kept: Path, other: Recipe) -> None:
    with pytest.raises(TrainingError, match=r"state\.safetensors is not a state of this run\. Remove"):
        state(other).resume(kept)


def test_a_state_of_another_model_is_refused(kept: Path) -> None:
    with pytest.raises(TrainingError, match="is not a state of this run"):
        state(size=4).resume(kept)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.99])
def test_a_state_that_was_cut_short_is_refused(kept: Path, share: float) -> None:
    path = kept / STATE_FILE
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(TrainingError, match="is not a state of this run"):
        state().resume(kept)
    with pytest.raises(TrainingError, match="has no run to begin with"):
        tensors_of(kept)


def test_a_file_from_elsewhere_is_refused(kept: Path) -> None:
    save_file({"module/weight": torch.ones(2, 3)}, kept / STATE_FILE)
    with pytest.raises(TrainingError, match="is not a state of this run"):
        state().resume(kept)
    save_file({"module/weight": torch.ones(2, 3)}, kept / STATE_FILE, {"run": '{"step": "x"}'})
    with pytest.raises(TrainingError, match="is not a state of this run"):
        state().resume(kept)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("steps: 0", "steps"),
        ("steps: many", "steps"),
        ("batch_size: 1.5", "batch_size"),
        ("learning_rate: 1e-3", "learning_rate"),
        ("phase: sleep", "phase"),
        ("momentum: 1", "momentum"),
        ("media: []", "media"),
        ("media: [smells]", "media.0"),
    ],
)
def test_a_wrong_recipe_names_its_key(tmp_path: Path, line: str, key: str) -> None:
    lines = {"phase": "see", "steps": "10", "batch_size": "2", "learning_rate": "0.1"}
    name, _, value = line.partition(": ")
    path = tmp_path / "wrong.yaml"
    path.write_text("\n".join(f"{name}: {value}" for name, value in {**lines, name: value}.items()))
    with pytest.raises(TrainingError, match=rf"^wrong\.yaml: {key}: "):
        Recipe.read(path)


def test_a_phase_that_hears_needs_recordings(tmp_path: Path) -> None:
    path = tmp_path / "deaf.yaml"
    path.write_text("phase: hear\nsteps: 1\nbatch_size: 4\nlearning_rate: 0.1\nclips: 3")
    with pytest.raises(TrainingError, match=r"^deaf\.yaml: clips: .*a batch of recordings"):
        Recipe.read(path)
    with pytest.raises(SettingsError):
        Recipe.read(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("batch_size", "sounds", "media"), [(4, 0, "[sounds]"), (4, 4, "[pictures, sounds]"), (4, 5, "[pictures, sounds]")]
)
def test_a_batch_fits_the_media(tmp_path: Path, batch_size: int, sounds: int, media: str) -> None:
    path = tmp_path / "odd.yaml"
    rates = "steps: 1\nlearning_rate: 0.1\nclips: 9"
    path.write_text(f"phase: tune\nbatch_size: {batch_size}\nsounds: {sounds}\nmedia: {media}\n{rates}")
    with pytest.raises(TrainingError, match=r"^odd\.yaml: sounds: .*does not fit the media"):
        Recipe.read(path)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_recipe_of_the_repository_is_one(path: Path) -> None:
    recipe = Recipe.read(path)
    assert path.name.startswith(recipe.phase)


@given(steps=st.integers(1, 500), warmup=st.integers(0, 600), decay=st.floats(0.01, 1))
def test_the_rate_rises_then_falls_and_is_never_nothing(steps: int, warmup: int, decay: float) -> None:
    recipe = RECIPE.model_copy(update={"steps": steps, "warmup_steps": warmup, "decay_share": decay})
    rates = [recipe.rate(step) for step in range(steps)]
    highest = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:highest] == sorted(rates[:highest])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)


def test_a_rate_is_a_share_of_the_optimizers_own() -> None:
    optimizer = adamw(dict(nn.Linear(2, 2).named_parameters()), 0.4)
    for share in (0.5, 0.25, 1.0):
        set_rate(optimizer, share)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.4 * share)


def test_figures_are_drawn_for_every_run(tmp_path: Path) -> None:
    lines = [
        '{"step": 10, "loss": 2.0, "validation_wer": 0.9}',
        '{"step": 20, "loss": 9.0}',
        '{"step": 20, "loss": 1.0}',
    ]
    (tmp_path / FIGURES_FILE).write_text("\n".join(lines))
    figures = read_figures(tmp_path)
    assert [line["loss"] for line in figures] == [2.0, 1.0]
    figure = draw_curves({"hear": figures, "see": [{"step": 1, **{f"share {n}": 0.5 for n in range(6)}}]})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:2] == ["loss", "word error rate"]
    assert len(figure.axes) == 15
    loss, wer = (axes.lines[0] for axes in figure.axes[:2])
    assert (list(loss.get_xdata()), list(loss.get_ydata())) == ([10, 20], [2.0, 1.0])
    assert (list(wer.get_ydata()), wer.get_label()) == ([0.9], "validation")
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "{", '{"loss": 1}', "[1]"])
def test_a_run_without_figures_is_a_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FIGURES_FILE).write_text(text)
    with pytest.raises(TrainingError, match="figures"):
        read_figures(tmp_path)
