"""The native library: compiled from the sources beside this file, kept under ``$TRICHORD_HOME/native``, loaded.

It is compiled where it runs, for the very CPU (a second or three, once): a wheel stays one wheel, and nothing is
shipped that cannot be read. A file's name is the digest of all that it was made from, so a stale one is never loaded.
Knows compilers; knows nothing of models.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from trichord.errors import FeatureOffError
from trichord.home import home

COMPILER = "c++"
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fno-strict-aliasing", "-shared", "-fPIC", "-pthread")
MAX_COMPILE_S = 300.0
CPU_FLAGS = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16")
"""What the kernels are written in: Zen 4, Cooper Lake, Sapphire Rapids and later."""

SOURCE = Path(__file__).with_name("step.cpp")


@cache
def library() -> ctypes.CDLL:
    """The library, compiled if need be. Raises FeatureOffError: this machine cannot compile or run it, and why."""
    present = cpu_flags()
    if missing := [flag for flag in CPU_FLAGS if flag not in present]:
        raise FeatureOffError(f"The native step needs a CPU with {', '.join(missing)}.")
    try:
        path = home() / "native" / f"{_digest(present)}.so"
        if not path.exists():
            _compile(path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise FeatureOffError("The native step can not be kept in TRICHORD_HOME or not be loaded from it.") from error


def cpu_flags() -> list[str]:
    """What this machine's CPU can do, in the kernel's words; nothing on machines that the step is not written for."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return []
    with open("/proc/cpuinfo") as lines:
        return next((sorted(line.split()[2:]) for line in lines if line.startswith("flags")), [])


def _digest(present: list[str]) -> str:
    sources = sorted(path for path in SOURCE.parent.iterdir() if path.suffix in {".cpp", ".h"})
    digest = hashlib.sha256(" ".join([_run(COMPILER, "--version"), *FLAGS, *present]).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _compile(path: Path) -> None:
    """Writes ``path`` whole or not at all: services that start together compile the same file side by side."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        compiled = Path(directory) / path.name
        _run(COMPILER, *FLAGS, str(SOURCE), "-o", str(compiled))
        os.replace(compiled, path)


def _run(*command: str) -> str:
    try:
        # The locale of Triton's interpreter may be ASCII, a compiler's is not.
        done = subprocess.run(  # noqa: S603 - our own words
            command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=MAX_COMPILE_S
        )
    except FileNotFoundError as error:
        raise FeatureOffError(f"The native step needs a C++ compiler: there is no {command[0]}.") from error
    except subprocess.SubprocessError as error:
        raise FeatureOffError(f"The native step could not be compiled: {command[0]} failed.") from error
    return done.stdout
