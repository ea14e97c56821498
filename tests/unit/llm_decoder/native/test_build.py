"""The library is compiled once, whole or not at all; where it cannot be, one sentence says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from llm_decoder.native import build
from trichord import home
from trichord.errors import FeatureOffError

# GCC before 13 takes its own intrinsics for reads of uninitialised memory (GCC bug 105593).
STRICT = ("-Wall", "-Wextra", "-Werror", "-Wno-uninitialized", "-Wno-maybe-uninitialized")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; and nothing is remembered of what was built before."""
    monkeypatch.setenv(home.VARIABLE, str(tmp_path))
    build.library.cache_clear()
    yield tmp_path / "native"
    build.library.cache_clear()


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that only says that it was called."""
    script = tmp_path / "compiler"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exit\nfor last; do :; done\necho >>{tmp_path}/calls\n: >"$last"'
    )
    script.chmod(0o700)
    monkeypatch.setattr(build, "COMPILER", str(script))
    return tmp_path / "calls"


def test_the_source_compiles_without_warnings():
    command = [build.COMPILER, *build.FLAGS, *STRICT, str(build.SOURCE), "-o", "/dev/null"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


def test_it_is_compiled_once(directory, compiler):
    for _ in range(2):
        with pytest.raises(FeatureOffError, match="TRICHORD_HOME"):  # an empty file cannot be loaded
            build.library()
    assert compiler.read_text() == "\n"
    assert [path.suffix for path in directory.iterdir()] == [".so"]


def test_another_compiler_or_cpu_compiles_anew(directory, compiler, monkeypatch):
    present = build.cpu_flags()
    for flags in (build.FLAGS, (*build.FLAGS, "-g")):
        for cpu_flags in (present, [*present, "amx_bf16"]):
            monkeypatch.setattr(build, "FLAGS", flags)
            monkeypatch.setattr(build, "cpu_flags", lambda found=cpu_flags: found)
            with pytest.raises(FeatureOffError):
                build.library()
    assert len(list(directory.iterdir())) == 4


def test_a_missing_compiler_is_named(directory, monkeypatch):
    monkeypatch.setattr(build, "COMPILER", "no-such-compiler")
    with pytest.raises(FeatureOffError, match="there is no no-such-compiler"):
        build.library()


def test_a_compiler_that_fails_leaves_nothing(directory, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", ("--no-such-option",))
    with pytest.raises(FeatureOffError, match="could not be compiled"):
        build.library()
    assert not list(directory.iterdir())


def test_a_compiler_may_say_anything(directory, tmp_path, monkeypatch):
    script = tmp_path / "c++"
    script.write_text("#!/bin/sh\nprintf '\\377' >&2\nexit 1\n")  # no text in any encoding that we would expect
    script.chmod(0o700)
    monkeypatch.setattr(build, "COMPILER", str(script))
    with pytest.raises(FeatureOffError, match="could not be compiled"):
        build.library()


def test_a_home_that_cannot_be_written_is_told(tmp_path, directory, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(home.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(FeatureOffError, match="TRICHORD_HOME"):
        build.library()


def test_what_the_cpu_lacks_is_named(monkeypatch, directory):
    monkeypatch.setattr(build, "cpu_flags", lambda: ["avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"])
    with pytest.raises(FeatureOffError, match="a CPU with avx512_bf16"):
        build.library()


def test_other_machines_have_none_of_it(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert build.cpu_flags() == []
