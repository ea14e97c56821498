"""The command's edge: quick help, and errors as sentences."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from trichord.errors import CheckpointError, TrichordError
from trichord_cli.main import Sentences, app


def failing(error: Exception) -> typer.Typer:
    """A command that fails, behind the group that shows errors."""
    broken = typer.Typer(cls=Sentences, pretty_exceptions_enable=False)

    @broken.command()
    def work() -> None:
        raise error

    @broken.command()
    def rest() -> None:
        """A second command, so that the first is a sub-command."""

    return broken


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TrichordError("It is broken. Mend it."), "It is broken. Mend it."),
        (CheckpointError("Tensor a is missing.", tensor="a"), "Tensor a is missing."),
        (PermissionError(13, "Permission denied", "there"), "Permission denied: there"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_an_error_is_one_sentence_on_stderr(error: Exception, sentence: str) -> None:
    result = CliRunner().invoke(failing(error), ["work"])
    assert result.exit_code == 1
    assert result.stderr == sentence + "\n"
    assert result.stdout == ""


def test_a_bug_is_not_hidden() -> None:
    result = CliRunner().invoke(failing(ZeroDivisionError()), ["work"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in ("checkpoint", "tokens", "up", "down", "status", "logs", "chat"):
        assert command in result.stdout


def test_the_command_loads_nothing_heavy_until_it_works() -> None:
    script = "import sys, trichord_cli.main as main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert not loaded & {"torch", "numpy", "pydantic", "tokenizers", "gguf", "huggingface_hub", "transformers"}
