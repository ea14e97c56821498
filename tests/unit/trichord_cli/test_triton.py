"""``trichord triton``."""

import pytest
from typer.testing import CliRunner

from trichord.home import home
from trichord.triton import runtime
from trichord_cli.main import app


def test_install_prints_the_program() -> None:
    done = CliRunner().invoke(app, ["triton", "install"])
    assert (done.exit_code, done.stdout) == (0, f"{runtime.install(home()).binary}\n")


def test_a_server_elsewhere_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_TRITON_DIR", "/nowhere")
    done = CliRunner().invoke(app, ["triton", "install"])
    assert (done.exit_code, done.stderr) == (1, "TRICHORD_TRITON_DIR names a directory that has no bin/tritonserver.\n")
