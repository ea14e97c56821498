"""``trichord checkpoint``: what it prints and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trichord.checkpoint.digest import fingerprint
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord_cli.main import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def trichord(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["checkpoint", *arguments])


def test_pull_prints_the_directory_and_nothing_else(home: Path) -> None:
    for _ in range(2):
        result = trichord("pull", "tiny")
        assert result.exit_code == 0
        assert result.stdout == f"{home / 'checkpoints' / 'tiny'}\n"


def test_init_into_a_directory(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        result = trichord("init", "tiny", "--to", str(tmp_path / seed), "--seed", seed)
        assert result.stdout == f"{tmp_path / seed}\n"
    assert fingerprint(tmp_path / "1", "audio", "float32") != fingerprint(tmp_path / "2", "audio", "float32")
    assert trichord("verify", str(tmp_path / "1")).exit_code == 0


def test_init_does_not_overwrite(home: Path) -> None:
    assert trichord("init", "tiny").exit_code == 0
    result = trichord("init", "tiny")
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert (home / "checkpoints" / "tiny" / WEIGHTS_FILE).exists()


def test_verify_names_what_is_wrong(home: Path) -> None:
    trichord("pull", "tiny")
    assert trichord("verify", "tiny").stdout == "tiny is whole.\n"
    weights = home / "checkpoints" / "tiny" / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    result = trichord("verify", "tiny")
    assert result.exit_code == 1
    assert "model.safetensors is truncated" in result.stderr
    assert "Traceback" not in result.output


def test_show_of_the_reference_model_needs_no_weights() -> None:
    shown = json.loads(trichord("show", "megrez-3b-omni", "--json").stdout)
    assert (shown["parameters"], shown["tensors"]) == (4_009_159_920, 1231)
    assert shown["parameters_by_part"]["vision tower"] == 417_792_240
    assert shown["dtype"] == "bfloat16"
    assert shown["digest"] is None
    assert shown["fingerprint"] is None


def test_show_of_a_checkpoint_tells_what_a_decoder_accepts(home: Path) -> None:
    trichord("pull", "tiny")
    shown = json.loads(trichord("show", "tiny", "--json").stdout)
    directory = home / "checkpoints" / "tiny"
    assert shown["directory"] == str(directory)
    assert shown["fingerprint"] == {t: fingerprint(directory, t, "float32") for t in ("vision", "audio")}
    assert len(shown["digest"]) == 64
    assert "means anything" in shown["note"]


def test_show_for_people_says_what_is_untrained() -> None:
    result = trichord("show", "smol")
    assert "148,481,856  parameters in 456 tensors" in result.stdout
    assert "untrained" in result.stdout
    assert "Not pulled." in result.stdout
    trichord("pull", "tiny")
    assert "vision fingerprint" in trichord("show", "tiny").stdout


@pytest.mark.parametrize("command", ["pull", "init", "show"])
def test_an_unknown_name_lists_the_presets(command: str) -> None:
    result = trichord(command, "gpt")
    assert result.exit_code == 1
    assert "tiny, smol, demo, megrez-3b-omni" in result.stderr
    assert result.stdout == ""
