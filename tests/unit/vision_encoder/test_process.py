"""The front as a process: what it imports, and how it refuses to start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trichord.errors import SettingsError
from vision_encoder.settings import VisionSettings

REQUIRED = {"TRICHORD_VISION_CHECKPOINT": "nowhere", "TRICHORD_VISION_TRITON": "127.0.0.1:1"}


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRICHORD_")}
    return subprocess.run([sys.executable, *arguments], env=clean | environment, capture_output=True, text=True)


def test_the_front_knows_no_torch() -> None:
    result = python(
        "-c", "import sys, vision_encoder.__main__; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "TRICHORD_VISION_CHECKPOINT is not set"),
        (REQUIRED, "There is no config.json in nowhere"),
        (REQUIRED | {"TRICHORD_VISION_MAX_IMAGE_BYTE": "5"}, "TRICHORD_VISION_MAX_IMAGE_BYTE is not a setting"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(environment: dict[str, str], words: str) -> None:
    result = python("-m", "vision_encoder", **environment)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("cannot start: ")
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("field", ["max_image_bytes", "max_image_pixels", "decode_workers", "decode_memory_bytes"])
def test_a_limit_of_nothing_is_refused(monkeypatch, field: str) -> None:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    assert VisionSettings.from_environment().checkpoint == Path("nowhere")
    monkeypatch.setenv(f"TRICHORD_VISION_{field}".upper(), "0")
    with pytest.raises(SettingsError, match=field.upper()):
        VisionSettings.from_environment()
