"""The phases one after another on a tiny model: what each begins with, moves, keeps and writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from audio_encoder.tower import Codebook
from trichord.checkpoint.layout import tensor_shapes
from trichord.errors import TrainingError
from trichord.model_config import ModelConfig
from trichord_training import converse, see
from trichord_training.base import Base
from trichord_training.converse import Converse
from trichord_training.ears import Scribe
from trichord_training.hear import Hear, new_listener
from trichord_training.loop import FIGURES_FILE, Task, run
from trichord_training.recipe import Recipe
from trichord_training.replay import PROMPTS
from trichord_training.run_state import take, tensors_of
from trichord_training.see import TENSORS_FILE, See
from trichord_training.settle import SettlePictures, SettleSounds, closest_map
from trichord_training.spoken_vocabulary import spoken_vocabulary

CPU = torch.device("cpu")
RATES: Mapping[str, float] = {"learning_rate": 0.01}
ENCODER_RATES = {**RATES, "encoder_learning_rate": 0.01}


@dataclass
class School:
    """Trains one phase after another in a folder."""

    config: ModelConfig
    base: Base
    recordings: Path

    def directory(self, name: str) -> Path:
        return self.recordings.parent / name

    def teach(self, name: str, phase: str, begin_with: tuple[str, ...] = (), **settings: object) -> Path:
        recipe = Recipe.model_validate({"phase": phase, "preset": "tiny", "steps": 1, "batch_size": 2, **settings})
        run(self.task(recipe, begin_with), recipe, self.directory(name))
        return self.directory(name)

    def task(self, recipe: Recipe, begin_with: tuple[str, ...] = ()) -> Task:
        directories = [self.directory(other) for other in begin_with]
        match recipe.phase:
            case "see":
                return See(self.config, self.base, recipe, CPU)
            case "hear":
                return Hear(self.config, self.base, recipe, self.recordings, CPU)
            case "settle" if recipe.media == ["pictures"]:
                return SettlePictures(self.config, self.base, recipe, directories, CPU)
            case "settle":
                return SettleSounds(self.config, self.base, recipe, self.recordings, directories, CPU)
            case _:
                return Converse(self.config, self.base, recipe, self.recordings, directories, CPU)


@pytest.fixture(scope="module")
def school(config: ModelConfig, base: Base, recordings: Path, fonts_to_train_with: None) -> School:
    """See, hear, settle, connect, encode and tune, one step each."""
    school = School(config, base, recordings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(see, "NUM_VALIDATED", 4)
        patch.setattr(see, "VALIDATED_AT_ONCE", 2)
        patch.setattr(converse, "VALIDATION_ROUNDS", 1)
        school.teach("see", "see", **ENCODER_RATES)
        school.teach("hear", "hear", clips=5, **ENCODER_RATES)
        school.teach("settle-pictures", "settle", ("see", "hear"), clips=5, media=["pictures"], **ENCODER_RATES)
        school.teach("settle-sounds", "settle", ("see", "hear"), clips=5, media=["sounds"], **ENCODER_RATES)
        first = ("see", "settle-sounds")
        school.teach("connect", "connect", first, clips=5, sounds=1, **RATES)
        school.teach("connect-sounds", "connect", first, clips=5, media=["sounds"], sounds=2, **RATES)
        school.teach("encode", "encode", (*first, "connect"), clips=5, sounds=1, **ENCODER_RATES)
        _keep_replay(school)
        after = (*first, "connect", "encode")
        school.teach("tune", "tune", after, clips=5, sounds=1, llm_learning_rate=0.01, **ENCODER_RATES)
    return school


def _keep_replay(school: School) -> None:
    """Answers that nobody gave: what the loop would take minutes to make."""
    recipe = Recipe(phase="connect", preset="tiny", steps=1, batch_size=2, sounds=1, learning_rate=0.1, clips=5)
    task = school.task(recipe, ("see", "settle-sounds"))
    assert isinstance(task, Converse)
    texts = [[*task.module.prompt([text]), 5, 6, 7] for text in PROMPTS]
    (school.recordings.parent / "replay.json").write_text(json.dumps(texts))


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    return {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}


def test_each_phase_moves_what_it_is_for(school: School) -> None:
    seen, heard = tensors_of(school.directory("see")), tensors_of(school.directory("settle-sounds"))
    connected, encoded = tensors_of(school.directory("connect")), tensors_of(school.directory("encode"))
    tuned = tensors_of(school.directory("tune"))
    connectors = {name for name in connected if name.startswith(("eyes.resampler.", "ears.proj.", "ears.audio_bos"))}
    assert connected.keys() == connectors
    assert len(moved(seen | heard, connected)) > 8
    assert encoded.keys() == {name for name in seen | heard if not name.startswith("head.")}
    assert "eyes.mixture" in moved(seen, encoded)
    assert any("encoder.layers" in name for name in moved(seen, encoded))
    assert any("ears.blocks" in name for name in moved(heard, encoded))
    deltas = {name: value for name, value in tuned.items() if name not in encoded}
    assert deltas
    assert {name.rpartition(".")[2] for name in deltas} == {"lora_a", "lora_b"}
    assert all(value.any() for name, value in deltas.items() if name.endswith("lora_b"))


def test_settling_moves_the_tower_of_its_medium_alone(school: School) -> None:
    for name, begun, prefix in (("settle-pictures", "see", "eyes."), ("settle-sounds", "hear", "ears.")):
        before, after = tensors_of(school.directory(begun)), tensors_of(school.directory(name))
        towers = {key for key in moved(before, after) if not key.startswith("head.")}
        assert len(towers) > 8
        assert all(key.startswith(prefix) for key in towers)


def test_settling_pictures_begins_closer_to_the_embeddings_than_the_phase_before_ended(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = settling("pictures")
    fitted = school.task(recipe, ("see",)).loss(0, {})[0].item()
    monkeypatch.setattr(SettlePictures, "_fit", lambda self: None)
    assert fitted < 0.5 * school.task(recipe, ("see",)).loss(0, {})[0].item()


def test_settling_sounds_begins_with_the_scores_that_the_phase_before_ended_with(school: School) -> None:
    begun = school.task(settling("sounds"), ("hear",)).module
    assert isinstance(begun, Scribe)
    listener = new_listener(school.config, school.base, spoken_vocabulary(school.base.tokenizer))
    take(listener, tensors_of(school.directory("hear")))
    mel = torch.randn(2, school.config.audio.n_mels, 60, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        torch.testing.assert_close(begun(mel), listener(mel), rtol=1e-3, atol=1e-3)
    assert begun.blank == listener.blank


def test_where_one_thing_is_heard_its_row_is_its_embedding(school: School) -> None:
    codebook = school.task(settling("sounds"), ("hear",)).module.ears.proj
    assert isinstance(codebook, Codebook)
    vocabulary = spoken_vocabulary(school.base.tokenizer)
    with torch.no_grad():
        codebook.scores.weight.zero_()
        for place, token in ((0, vocabulary[0]), (len(vocabulary) - 1, vocabulary[-1])):
            codebook.scores.bias.fill_(-100.0)[place] = 100.0
            (row,) = codebook(torch.zeros(1, codebook.scores.in_features))
            torch.testing.assert_close(row, school.base.embeddings([token])[0])


def settling(medium: str) -> Recipe:
    settings = {"phase": "settle", "preset": "tiny", "steps": 1, "batch_size": 2, "learning_rate": 0.01}
    return Recipe.model_validate({**settings, "clips": 5, "media": [medium]})


def test_sounds_settle_only_in_a_codebook_of_all_that_is_said(school: School, base_config: ModelConfig) -> None:
    for size, told in ((0, "has no codebook"), (7, "must have [0-9]+ rows, or none")):
        audio = base_config.audio.model_copy(update={"codebook_size": size})
        other = School(base_config.model_copy(update={"audio": audio}), school.base, school.recordings)
        with pytest.raises(TrainingError, match=told):
            other.task(settling("sounds"), ("hear",))


def test_the_map_that_settling_begins_with_is_the_least_squares_one() -> None:
    torch.manual_seed(0)
    inputs, outputs = torch.randn(200, 5), torch.randn(200, 3)
    expected, *_ = np.linalg.lstsq(inputs.double().numpy(), outputs.double().numpy(), rcond=None)
    np.testing.assert_allclose(closest_map(inputs, outputs).numpy(), expected, atol=3e-3)


def test_a_run_writes_tensors_of_the_checkpoint(school: School) -> None:
    shapes = tensor_shapes(school.config)
    for name in ("see", "hear", "connect", "encode", "tune"):
        written = load_file(school.directory(name) / TENSORS_FILE)
        whole = {key: value for key, value in written.items() if ".lora_" not in key}
        assert whole
        assert {key: tuple(value.shape) for key, value in whole.items()} == {key: shapes[key] for key in whole}
        assert {value.dtype for value in written.values()} == {torch.bfloat16}
    assert {key for key in shapes if key.startswith(("vision.", "audio."))} == whole.keys()
    for key in (key.removesuffix(".lora_a") for key in written if key.endswith(".lora_a")):
        product = written[f"{key}.lora_b"].float() @ written[f"{key}.lora_a"].float()
        assert tuple(product.shape) == shapes[key]


def test_a_run_of_one_medium_writes_that_one(school: School) -> None:
    written = load_file(school.directory("connect-sounds") / TENSORS_FILE)
    assert {name.partition(".")[0] for name in written} == {"audio"}


def test_positions_that_are_never_trained_are_the_bases(school: School) -> None:
    name = "audio.audio.positional_embedding"
    expected = school.base.tensors(name)[""]
    assert expected.any()
    assert torch.equal(load_file(school.directory("tune") / TENSORS_FILE)[name], expected.bfloat16())


def test_figures_tell_the_step_and_shares(school: School) -> None:
    (line,) = (json.loads(text) for text in (school.directory("tune") / FIGURES_FILE).read_text().splitlines())
    assert line["step"] == 1
    assert line["drift"] == pytest.approx(0, abs=1e-3)
    shares = {name: value for name, value in line.items() if name not in {"step", "loss", "drift"}}
    assert {"picture", "sound", "blind"} <= shares.keys()
    validated = {name.removeprefix("validation_") for name in shares if name.startswith("validation_")}
    assert validated == {"picture", "pictures", "sound", "question", "picture_question", "blind"}
    assert all(0 <= value <= 1 for value in shares.values())


def test_a_phase_without_its_first_is_a_clear_error(school: School) -> None:
    recipe = Recipe(phase="connect", preset="tiny", steps=1, batch_size=2, sounds=1, learning_rate=0.1, clips=5)
    with pytest.raises(TrainingError, match=r"Nothing to begin ears\."):
        school.task(recipe, ("see",))
    with pytest.raises(TrainingError, match="nowhere has no run to begin with"):
        school.task(recipe, ("nowhere",))
