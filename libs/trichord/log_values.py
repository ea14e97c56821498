"""Makes values fit for a line of a log: printable, bounded, and of exceptions only what holds no caller's words. Pure.

Whatever is logged becomes text, numbers, or short lists of them; it never raises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from traceback import walk_tb
from types import TracebackType
from typing import Any

MAX_ITEMS = 32
MAX_DEPTH = 3
MAX_FRAMES = 24
MAX_CAUSES = 6
_MAX_INTEGER = 1 << 64
_CUT = "..."


def plain(value: Any, max_chars: int, depth: int = 0, *, keep_lines: bool = False) -> Any:
    """What JSON can hold of ``value``; of an object that is none of its types, the type's name.

    Text is cut in its middle to ``max_chars``; what is not printable in it is spelled out, line ends too unless they
    are to be kept.
    """
    match value:
        case None | bool():
            return value
        case str():
            return _cut(printable(value, keep_lines=keep_lines), max_chars)
        case Integral():
            return int(value) if abs(int(value)) < _MAX_INTEGER else "large"
        case Real():
            return float(value) if math.isfinite(value) else str(float(value))
        case Mapping() if depth < MAX_DEPTH:
            items = list(value.items())[:MAX_ITEMS]
            return {_cut(printable(str(name)), max_chars): plain(item, max_chars, depth + 1) for name, item in items}
        case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
            return [plain(item, max_chars, depth + 1) for item in list(value)[:MAX_ITEMS]]
    return type(value).__name__


def printable(text: str, *, keep_lines: bool = False) -> str:
    r"""``text`` with line ends, escapes and invisible characters spelled out as ``\n``, ``\x1b``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or (keep_lines and character == "\n")
        else character.encode("unicode_escape").decode()
        for character in text
    )


def exception(error: BaseException) -> str:
    """Which exception it was and where, innermost frame first, then what caused it: never its message."""
    return "\n".join(_told(error))


def to_json(line: Mapping[str, Any]) -> str:
    """One line of ASCII."""
    return json.dumps(line, allow_nan=False, separators=(",", ":"))


def _told(error: BaseException) -> Iterator[str]:
    lead = ""
    for cause in _causes(error):
        yield lead + type(cause).__name__
        yield from _frames(cause.__traceback__)
        if isinstance(cause, BaseExceptionGroup):
            yield "of " + ", ".join(type(inner).__name__ for inner in cause.exceptions[:MAX_ITEMS])
        lead = "because of "


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    frames = [*walk_tb(traceback)][-MAX_FRAMES:]
    for frame, line_number in reversed(frames):
        yield f"  at {frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}:{line_number}"


def _cut(text: str, max_chars: int) -> str:
    half = max_chars // 2
    return text if len(text) <= max_chars else text[:half] + _CUT + text[-half:]
