"""Latency profiles: what is shipped, what is strict about the file, and what a model is told."""

import math
from pathlib import Path

import pytest
import structlog
import yaml

from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.errors import SettingsError
from trichord.settings import ModelSettings
from trichord.simulation import profile
from trichord.simulation.profile import DEFAULT, LatencyProfile, locate

TEXT = DEFAULT.read_text()


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def changed(**sections: object) -> str:
    """The default profile with some keys replaced; a None leaves the key out."""
    values = yaml.safe_load(TEXT) | sections
    return yaml.safe_dump({key: value for key, value in values.items() if value is not None})


def section(name: str, **figures: object) -> dict[str, object]:
    values = yaml.safe_load(TEXT)[name] | figures
    return {name: {key: value for key, value in values.items() if value is not None}}


@pytest.mark.parametrize("name", ["smol-cpu", "megrez-3b-omni-h100"])
def test_what_is_shipped_is_valid_and_says_where_it_comes_from(name):
    shipped = LatencyProfile.read(locate(name))
    assert shipped.provenance == ("measured" if name == "smol-cpu" else "estimated")
    assert shipped.vision.pass_s(1) > 0
    assert shipped.audio.pass_s(1) > 0


REFUSED = {
    "missing figure": (changed(**section("vision", tile_ms=None)), "vision.tile_ms: Field required"),
    "misspelt figure": (changed(**section("decoder", step_msec=3)), "decoder.step_msec: Extra inputs"),
    "missing section": (changed(audio=None), "audio: Field required"),
    "unknown section": (changed(video={"pass_ms": 1}), "video: Extra inputs"),
    "negative": (changed(**section("audio", pass_ms=-1)), "audio.pass_ms: Input should be greater than or equal to 0"),
    "not a number": (changed(**section("audio", pass_ms="fast")), "audio.pass_ms: Input should be a valid number"),
    "a number in quotes": (changed(**section("audio", pass_ms="3")), "audio.pass_ms: Input should be a valid number"),
    "a truth": (changed(**section("audio", pass_ms=True)), "audio.pass_ms: Input should be a valid number"),
    "infinite": (changed(**section("vision", pass_ms=math.inf)), "vision.pass_ms: Input should be a finite number"),
    "NaN": (changed(**section("vision", pass_ms=math.nan)), "vision.pass_ms: Input should be"),
    "longer than a year": (changed(**section("vision", pass_ms=1e12)), "vision.pass_ms: Input should be less than"),
    "answers of nothing": (changed(mean_answer_tokens=0), "mean_answer_tokens: Input should be greater"),
    "no provenance": (changed(provenance="guessed"), "provenance: Input should be 'measured' or 'estimated'"),
    "a list": ("- 1\n- 2\n", "the file: Input should be a valid dictionary"),
    "empty": ("", "the file: Input should be a valid dictionary"),
    "a key twice": (TEXT + "mean_answer_tokens: 2\n", "has a key twice"),
    "a key of a section twice": ("vision: {pass_ms: 1, pass_ms: 2}\n", "in line 1"),
    "not YAML": ("vision: [1\n", "is not YAML in line 2"),
    "a tag that runs code": ("vision: !!python/object/apply:os.getpid []\n", "is not YAML in line 1"),
    "a control character": ("vision: \x00\n", "is not YAML"),
    "deep": ("[" * 20_000, "is not YAML"),
    "a key that is a list": ("? [a]\n: 1\n", "is not YAML"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_file_is_refused_by_the_key(tmp_path, case):
    text, words = REFUSED[case]
    with pytest.raises(SettingsError) as refused:
        LatencyProfile.read(written(tmp_path, text))
    assert words in refused.value.message
    assert refused.value.message.startswith("Latency profile mine.yaml")
    assert str(tmp_path) not in refused.value.message


def test_aliases_cannot_make_it_grow(tmp_path):
    levels = "\n".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 9)}]" for n in range(40))
    with pytest.raises(SettingsError):
        LatencyProfile.read(written(tmp_path, f"l0: &l0 [1]\n{levels}\n"))


def test_a_huge_or_missing_file_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="larger than 65536 bytes"):
        LatencyProfile.read(written(tmp_path, TEXT + "#" * 70_000))
    with pytest.raises(SettingsError, match=r"nowhere.yaml cannot be read: No such file"):
        LatencyProfile.read(tmp_path / "nowhere.yaml")


def test_a_name_is_a_shipped_profile_and_a_slash_makes_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("smol-cpu") == DEFAULT
    assert locate("./mine") == tmp_path / "mine"
    assert locate("mine.yaml") == tmp_path / "mine.yaml"
    with pytest.raises(SettingsError, match="Shipped: megrez-3b-omni-h100, megrez-3b-omni-l4, smol-cpu"):
        locate("mine")


def test_a_model_is_told_its_profile_or_the_default_and_says_so(tmp_path):
    mine = written(tmp_path, changed(note="Mine."))
    settings = {"checkpoint": tmp_path, "backend": "simulated"}
    with structlog.testing.capture_logs() as logs:
        told = profile.told(ModelSettings(**settings, simulation=mine))
        default = profile.told(ModelSettings(**settings))
    assert told.note == "Mine."
    assert default == LatencyProfile.read(DEFAULT)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("this model is simulated", "warning")] * 2
    assert logs[0]["profile"] == "mine.yaml"


BANDWIDTH, ARITHMETIC = 0.75 * 3.35e12, 0.5 * 989e12
"""Bytes and FLOP a second that an H100 SXM is assumed to reach."""


def test_the_estimates_are_the_roofline_of_the_model():
    config, estimated = PRESETS["megrez-3b-omni"], LatencyProfile.read(locate("megrez-3b-omni-h100"))
    llm, audio = config.llm, config.audio

    def parameters(prefix):
        return sum(math.prod(shape) for name, shape in tensor_shapes(config).items() if name.startswith(prefix))

    head = parameters("llm.lm_head.")
    stepped = parameters("llm.") - parameters("llm.model.embed_tokens.")
    patches, positions = 1012, audio.n_ctx
    tile = 2 * patches * parameters("vision.vpm.encoder.")
    tile += 4 * patches**2 * config.vision.hidden_size * config.vision.num_hidden_layers
    window = 2 * positions * parameters("audio.audio.blocks.") + 4 * positions**2 * audio.n_state * audio.n_layer
    per_position = llm.num_hidden_layers * llm.head_dim * 4
    expected = {
        estimated.decoder.weights_ms: 2 * stepped / BANDWIDTH * 1e3,
        estimated.decoder.prompt_token_ms: 2 * (stepped - head) / ARITHMETIC * 1e3,
        estimated.decoder.sequence_ms: 2 * stepped / ARITHMETIC * 1e3,
        estimated.decoder.prompt_pair_ns: per_position * llm.num_attention_heads / ARITHMETIC * 1e9,
        estimated.decoder.context_token_us: per_position * llm.num_key_value_heads / BANDWIDTH * 1e6,
        estimated.vision.weights_ms: 2 * parameters("vision.") / BANDWIDTH * 1e3,
        estimated.vision.tile_ms: tile / ARITHMETIC * 1e3,
        estimated.audio.weights_ms: 2 * parameters("audio.") / BANDWIDTH * 1e3,
        estimated.audio.second_ms: window / 30 / ARITHMETIC * 1e3,
    }
    for figure, bound in expected.items():
        assert figure == pytest.approx(bound, rel=0.04)
