"""Small files that only their owner writes: read whole within a bound, replaced whole or not at all.

Knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trichord.errors import SettingsError

PRIVATE = 0o600


def read(path: Path, max_bytes: int) -> bytes:
    """The whole file. Raises OSError if it cannot be read, SettingsError if others may write it or it is too long."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsError(f"{path} may be written by others than its owner. Run chmod 600 on it.")
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise SettingsError(f"{path} has more than {max_bytes} bytes.")
    return content


def replace(path: Path, content: bytes) -> None:
    """Puts ``content`` there for the owner alone; readers see the old or the new, also after a crash."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else changes ``path`` meanwhile, in this process or another: all take the lock of a file beside it."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
