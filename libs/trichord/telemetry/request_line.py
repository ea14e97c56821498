"""The one line that a log has of a request: facts gathered on its way, told when it ends.

Facts are numbers, names of models and kinds, and ids: nothing of what was asked or answered. ``request_id`` and
``tenant`` (a digest) are on every other line of the request too. Tasks and threads that a request starts add to its
line. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from trichord.request_id import MAX_CHARS

Fact = str | int | float | bool
Facts = dict[str, Fact]

HEADER = "x-request-id"
IDENTITY = ("request_id", "tenant")

_current: ContextVar[Facts | None] = ContextVar("request_line", default=None)


@contextmanager
def begun(**facts: Fact) -> Iterator[Facts]:
    """The line of the request that the block is; what is added inside is in it."""
    _current.set(facts)
    try:
        yield facts
    finally:
        _current.set(None)  # not a token's reset: a generator may be closed in another context


def add(**facts: Fact) -> None:
    """Adds to the line of the current request, or replaces; outside of any, nothing."""
    line = _current.get()
    if line is not None:
        line.update(facts)


def inbound(headers: Iterable[tuple[str, str | bytes]]) -> Facts:
    """What a hop's headers or metadata say of the request: its name, if that is one."""
    named = next((value for name, value in headers if name == HEADER), "")
    return {"request_id": named} if isinstance(named, str) and _is_name(named) else {}


def outbound() -> tuple[tuple[str, str], ...]:
    """Metadata for a hop: the current request's name, so that the peer's lines have it too."""
    name = identity().get("request_id", "")
    return ((HEADER, name),) if isinstance(name, str) and _is_name(name) else ()


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_CHARS and text.isascii() and text.isprintable()


def identity() -> Mapping[str, Fact]:
    """What every line about the current request carries."""
    line = _current.get()
    return {name: line[name] for name in IDENTITY if name in line} if line else {}
