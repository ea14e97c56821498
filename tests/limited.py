"""Runs code on files in a process of its own that the kernel holds to little memory: what a bomb really costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_CHILD = """
import json, pathlib, resource, sys

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

folder, headroom = pathlib.Path(sys.argv[1]), int(sys.argv[2])
scope = {}
exec((folder / "code").read_text(), scope)
scope["use"]((folder / "warm").read_bytes())
files = {path.name: path.read_bytes() for path in sorted((folder / "files").iterdir())}
size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + headroom, size + headroom))
before = peak()
told = {name: scope["use"](data) for name, data in files.items()}
print(json.dumps([told, peak() - before]))
"""


@dataclass(frozen=True)
class Limited:
    """What became of the files."""

    told: Mapping[str, str]
    """What ``use`` said of each."""
    grown_bytes: int
    """Resident memory at its peak, beyond what the process and the files had."""


def run(code: str, warm: bytes, files: Mapping[str, bytes], headroom_bytes: int, folder: Path) -> Limited:
    """Calls ``use(data: bytes) -> str``, which ``code`` defines, on each file with ``headroom_bytes`` of address space.

    ``warm`` is used before the limit is set, so that what a library loads at first is not counted.
    """
    (folder / "files").mkdir()
    (folder / "code").write_text(code)
    (folder / "warm").write_bytes(warm)
    for name, data in files.items():
        (folder / "files" / name).write_bytes(data)
    command = [sys.executable, "-W", "ignore", "-c", _CHILD, str(folder), str(headroom_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told, grown_bytes = json.loads(done.stdout)
    return Limited(told, grown_bytes)
