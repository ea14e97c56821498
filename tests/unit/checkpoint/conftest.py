"""Checkpoints for the tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset tiny, seed 0; not to be written to."""
    directory = tmp_path_factory.mktemp("pristine") / "tiny"
    init(PRESETS["tiny"], directory, seed=0)
    return directory


@pytest.fixture
def tiny(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the preset tiny to break."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))
