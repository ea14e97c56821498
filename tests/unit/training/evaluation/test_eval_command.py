"""``trichord eval`` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import trichord
from trichord_cli import evaluate
from trichord_cli.main import app


def test_it_asks_in_this_process_and_writes_everything(tiny: Path, tmp_path: Path) -> None:
    written = tmp_path / "scores.json"
    asked = ["--set", "sign", "--set", "digit", "--samples", "3", "--seed", "7", "--split", "validation"]
    done = trichord("eval", "--preset", str(tiny), "--through", "process", *asked, "--json", str(written), check=False)
    assert done.returncode == 1, "random weights meet no bar"
    assert "tiny: split validation, seed 7, 3 samples a set" in done.stdout
    assert "digit" in done.stderr
    report = json.loads(written.read_text())
    assert [found["name"] for found in report["sets"]] == ["digit", "sign"]
    assert [answered["expected"] for answered in report["sets"][0]["answered"]] == ["0", "1", "2"]
    assert all(set(answered["answers"]) == {"process"} for answered in report["sets"][0]["answered"])


def test_no_bar_missed_is_a_success(tiny: Path) -> None:
    done = trichord("eval", "--preset", str(tiny), "--through", "process", "--set", "sign", "--samples", "1")
    assert "sign" in done.stdout


def test_an_unknown_set_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["eval", "--set", "shapes"])
    assert result.exit_code == 2
    told = " ".join(result.stderr.replace("│", " ").split())
    assert "there is no set shapes; known: shape, colour, digit" in told


def test_text_cannot_go_through_the_cluster() -> None:
    result = CliRunner().invoke(app, ["eval", "--through", "cluster", "--set", "text"])
    assert result.exit_code == 2


def test_a_file_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "--json", str(tmp_path / "nowhere" / "scores.json")])
    assert result.exit_code == 2
    assert "no such directory" in result.stderr


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["eval"])
    assert result.exit_code == 1
    assert result.stderr == "Evaluations need more than is installed: pip install 'trichord[training]'.\n"


def test_no_gateway_is_one_sentence() -> None:
    done = trichord(
        "eval", "--through", "cluster", "--set", "sign", "--samples", "1", "--target", "127.0.0.1:1", check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
