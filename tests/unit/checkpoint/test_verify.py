"""verify, manifests and staging: what is wrong is named, and nothing half-made is seen."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trichord.checkpoint.describe import describe_checkpoint, describe_config
from trichord.checkpoint.digest import fingerprint
from trichord.checkpoint.manifest import MANIFEST_FILE, check_manifest, num_bytes, write_manifest
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.staging import staged
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.checkpoint.verify import verify
from trichord.errors import CheckpointError
from trichord.model_config import CONFIG_FILE


def test_a_whole_checkpoint_passes_and_every_byte_is_counted(pristine: Path) -> None:
    done: list[int] = []
    verify(pristine, done.append)
    assert sum(done) == num_bytes(pristine) - (pristine / MANIFEST_FILE).stat().st_size


@pytest.mark.parametrize("file", [WEIGHTS_FILE, TOKENIZER_FILE, CONFIG_FILE])
def test_a_file_that_is_gone_is_named(tiny: Path, file: str) -> None:
    (tiny / file).unlink()
    with pytest.raises(CheckpointError, match=file):
        verify(tiny)


def test_a_truncated_file_is_named(tiny: Path) -> None:
    with (tiny / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(1_000_000)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated"):
        verify(tiny)


def test_a_missing_tensor_is_named(tiny: Path) -> None:
    tensors = load_file(tiny / WEIGHTS_FILE)
    del tensors["audio.audio.conv1.bias"]
    save_file(tensors, tiny / WEIGHTS_FILE)
    with pytest.raises(CheckpointError) as caught:
        verify(tiny)
    assert caught.value.tensor == "audio.audio.conv1.bias"


def test_one_flipped_bit_is_noticed(tiny: Path) -> None:
    content = bytearray((tiny / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (tiny / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not as it was made"):
        verify(tiny)


def test_without_a_manifest_only_layout_is_checked(tiny: Path) -> None:
    tensors = load_file(tiny / WEIGHTS_FILE)
    tensors["llm.model.norm.weight"] += np.float32(1)
    save_file(tensors, tiny / WEIGHTS_FILE)
    (tiny / MANIFEST_FILE).unlink()
    verify(tiny)


def test_a_manifest_is_sha256_by_file_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    write_manifest(tmp_path, "somewhere")
    assert json.loads((tmp_path / MANIFEST_FILE).read_text()) == {
        "source": "somewhere",
        "files": {"a.json": hashlib.sha256(b"{}").hexdigest()},
    }
    check_manifest(tmp_path)
    (tmp_path / "a.json").unlink()
    with pytest.raises(CheckpointError, match=r"a\.json is missing"):
        check_manifest(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"files": {}}',
        '{"source": "", "files": {"../../etc/passwd": ""}}',
        '{"source": "", "files": {"a": 1}}',
    ],
)
def test_a_malformed_manifest_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_FILE).write_text(content)
    with pytest.raises(CheckpointError, match="malformed"):
        check_manifest(tmp_path)


def test_description_of_a_preset_and_of_a_checkpoint_agree(pristine: Path) -> None:
    of_config, of_files = describe_config(PRESETS["tiny"]), describe_checkpoint(pristine)
    assert of_config.digest is None
    assert of_files.model_copy(update={"digest": None, "fingerprint": None, "directory": None}) == of_config
    assert of_config.parameters == sum(tensor.size for tensor in load_file(pristine / WEIGHTS_FILE).values())
    assert of_files.fingerprint is not None
    assert of_files.fingerprint["audio"] == fingerprint(pristine, "audio", "float32")


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    with staged(target) as fresh:
        (fresh / "new").touch()
        assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".target.partial").mkdir()
    (tmp_path / ".target.partial" / "half").touch()
    with staged(tmp_path / "target") as fresh:
        assert not list(fresh.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


MAKE_ONCE = """
import sys, time
from pathlib import Path
from trichord.checkpoint.staging import locked, staged
target, made = map(Path, sys.argv[1:])
with locked(target):
    if not target.exists():
        with staged(target), made.open("a") as file:
            time.sleep(0.1)
            file.write("x")
"""


def test_processes_that_make_the_same_directory_wait_for_each_other(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", MAKE_ONCE, str(tmp_path / "target"), str(tmp_path / "made")]
    processes = [subprocess.Popen(argv) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0] * 3
    assert (tmp_path / "made").read_text() == "x"
