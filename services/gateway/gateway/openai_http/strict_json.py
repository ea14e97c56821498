"""JSON from strangers: strict, and bounded in depth and size before it becomes objects. Pure.

RFC 8259 leaves duplicate names, NaN and lone surrogates to the parser; here each is refused, so that no two readers of
one body can differ.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from gateway.openai_http.refusals import HttpError

MAX_DEPTH = 64
"""Objects and arrays inside one another: a JSON Schema in a request needs some twenty."""

MAX_STRUCTURE = 1_000_000
"""Commas, colons and brackets in a body, those within strings included: bounds the objects made of it."""

MAX_DIGITS = 40

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(raw: bytes, noun: str = "body") -> dict[str, Any]:
    """The object that ``raw`` is; ``noun`` is what errors call it. Raises HttpError."""
    if sum(raw.count(mark) for mark in (b",", b":", b"[", b"{")) > MAX_STRUCTURE:
        raise _refusal(f"The {noun} has too many members.")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except UnicodeDecodeError as error:
        raise _refusal(f"The {noun} is not UTF-8 at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise _refusal(f"The {noun} is not JSON at line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise _refusal(f"The {noun} is nested more than {MAX_DEPTH} deep.") from error
    if not isinstance(value, dict):
        raise _refusal(f"The {noun} is a JSON object.")
    _check_depth(value, noun)
    if _SURROGATE.search(raw):
        _check_characters(value)
    return value


def _refusal(message: str) -> HttpError:
    return HttpError(message, code="invalid_json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _refusal(f"The name {twice[:64]!r} appears twice in one object.")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _refusal(f"{name} is not a JSON number.")


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise _refusal("A number is too large.")
    return number


def _bounded(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _refusal("A number has too many digits.")
    return int(digits)


def _check_depth(value: dict[str, Any], noun: str) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in inner if isinstance(child, (dict, list))]
        if not level:
            return
    raise _refusal(f"The {noun} is nested more than {MAX_DEPTH} deep.")


def _check_characters(value: dict[str, Any]) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _refusal("A string holds half of a surrogate pair.") from error
