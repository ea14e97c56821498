"""A directory that appears whole or not at all.

Knows nothing of what is put into it.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the lock on making ``directory``: a second process waits here. The lock ends with its process."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".{directory.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A fresh directory to fill; once the block ends well it takes the place of ``directory``. Wants the lock held.

    What a killed process left is removed first, so nothing piles up.
    """
    partial, old = (directory.parent / f".{directory.name}.{kind}" for kind in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if directory.exists():
            directory.rename(old)
        partial.rename(directory)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
