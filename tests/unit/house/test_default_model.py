"""Whoever names no model gets the same one, by whatever way."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from trichord.checkpoint.packages import PACKAGES
from trichord_cli import cluster, evaluate, tokens

ROOT = Path(__file__).parents[3]
DEFAULT = "demo"


@pytest.mark.parametrize("command", [cluster.up, tokens.tokens, evaluate.evaluate])
def test_the_commands_take_it(command: Callable[..., None]) -> None:
    assert inspect.signature(command).parameters["preset"].default == DEFAULT


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("Makefile", f"PRESET ?= {DEFAULT}"),
        ("examples/demo.py", f'"--preset", default="{DEFAULT}"'),
        ("docs/api.md", f'model="{DEFAULT}"'),
        ("README.md", f"The default checkpoint, `{DEFAULT}`"),
    ],
)
def test_the_files_name_it(file: str, line: str) -> None:
    assert line in (ROOT / file).read_text()


def test_the_chart_for_cpus_has_it() -> None:
    model = yaml.safe_load((ROOT / "deploy" / "helm" / "trichord" / "values-cpu.yaml").read_text())["model"]
    assert (model["name"], model["pvc"]["subPath"]) == (DEFAULT, f"checkpoints/{DEFAULT}")


def test_it_can_be_pulled() -> None:
    assert DEFAULT in PACKAGES
