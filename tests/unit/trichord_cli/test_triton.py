"""``trichord triton``."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from trichord.checkpoint.presets import preset
from trichord.home import home
from trichord.simulation.checkpoint import write_weightless
from trichord.triton import runtime
from trichord_cli.main import app


def test_install_prints_the_program() -> None:
    done = CliRunner().invoke(app, ["triton", "install"])
    assert (done.exit_code, done.stdout) == (0, f"{runtime.install(home()).binary}\n")


def test_a_server_elsewhere_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_TRITON_DIR", "/nowhere")
    done = CliRunner().invoke(app, ["triton", "install"])
    assert (done.exit_code, done.stderr) == (1, "TRICHORD_TRITON_DIR names a directory that has no bin/tritonserver.\n")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Without weights, in float32."""
    write_weightless(preset("tiny"), tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize(
    ("options", "kind"),
    [([], "TYPE_FP32"), (["--dtype", "float32"], "TYPE_FP32"), (["--dtype", "bfloat16"], "TYPE_BF16")],
)
def test_render_writes_a_repository_twice(tmp_path: Path, checkpoint: Path, options: list[str], kind: str) -> None:
    """An init container may run again: what it wrote before is replaced."""
    target = tmp_path / "models" / "repository"
    for _ in range(2):
        command = ["triton", "render", "vision_encoder", str(target), "--checkpoint", str(checkpoint), *options]
        done = CliRunner().invoke(app, command)
        assert (done.exit_code, done.stdout) == (0, f"{target}\n"), done.output
    assert kind in (target / "siglip" / "config.pbtxt").read_text()
    assert (target / "siglip" / "1" / "model.py").is_file()


def test_render_of_an_unknown_service_is_one_sentence(tmp_path: Path, checkpoint: Path) -> None:
    command = ["triton", "render", "gateway", str(tmp_path / "models"), "--checkpoint", str(checkpoint)]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "gateway carries no model_repository" in done.stderr
