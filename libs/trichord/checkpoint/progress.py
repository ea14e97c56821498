"""How long work tells how far it is, without knowing who looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[[int], None]
"""Told how many bytes were done since it was last called."""

Stages = Callable[[str, int], AbstractContextManager[Advance]]
"""Opens a stage of the work: its title for people, and the bytes it has to do."""


@contextmanager
def silent(_title: str, _total_bytes: int) -> Iterator[Advance]:
    """Stages that nobody looks at."""
    yield ignore


def ignore(_num_bytes: int) -> None:
    """An advance that nobody looks at."""
