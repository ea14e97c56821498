from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_decoder.__main__ import load
from llm_decoder.settings import DecoderSettings
from trichord.checkpoint.digest import fingerprint
from trichord.errors import CheckpointError, SettingsError

ONE, TWO = "01" * 32, "02" * 32


@pytest.fixture
def environment(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TRICHORD_DECODER_CHECKPOINT", str(tiny))
    monkeypatch.setenv("TRICHORD_DECODER_TRITON", "127.0.0.1:1")
    return monkeypatch


def test_fingerprints_are_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRICHORD_DECODER_ACCEPT_FINGERPRINTS", f"{ONE},{TWO}")
    assert DecoderSettings.from_environment().accept_fingerprints == (ONE, TWO)
    environment.setenv("TRICHORD_DECODER_ACCEPT_FINGERPRINTS", "")
    assert DecoderSettings.from_environment().accept_fingerprints == ()


def test_what_is_no_fingerprint_stops_the_process(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRICHORD_DECODER_ACCEPT_FINGERPRINTS", f"{ONE},nonsense")
    with pytest.raises(SettingsError, match="TRICHORD_DECODER_ACCEPT_FINGERPRINTS"):
        DecoderSettings.from_environment()


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_embeddings_of_the_checkpoints_own_towers_are_accepted(
    environment: pytest.MonkeyPatch, tiny: Path, dtype: str | None
) -> None:
    environment.setenv("TRICHORD_DECODER_ACCEPT_FINGERPRINTS", ONE)
    if dtype:
        environment.setenv("TRICHORD_DECODER_DTYPE", dtype)
    intake, _ = load(DecoderSettings.from_environment())
    own = {fingerprint(tiny, "vision", dtype or "float32"), fingerprint(tiny, "audio", dtype or "float32")}  # type: ignore[arg-type]
    assert intake.media.accepted_fingerprints == own | {ONE}


def test_a_checkpoint_without_a_tokenizer_stops_the_process(
    environment: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    environment.setenv("TRICHORD_DECODER_CHECKPOINT", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        load(DecoderSettings.from_environment())


def test_the_front_never_imports_torch() -> None:
    code = "import llm_decoder.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_without_settings_says_what_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRICHORD_")}
    done = subprocess.run(
        [sys.executable, "-m", "llm_decoder"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot start: TRICHORD_DECODER_CHECKPOINT is not set" in done.stderr
    assert "Traceback" not in done.stderr
