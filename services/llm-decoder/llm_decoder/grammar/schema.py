"""JSON Schemas that answers can be held to: bounded, and of keywords that can be enforced; the rest is refused.

Knows the keywords of JSON Schema draft 2020-12 (json-schema.org/draft/2020-12); knows nothing of how they are enforced.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trichord.errors import RequestError

FIELD = "sampling.response_format.json_schema"

CANNOT_ENFORCE = (
    "The schema cannot be enforced: it contradicts itself, is too complex, or has a pattern with look-around or "
    "back-references, branches of oneOf that overlap, or a reference to nothing. Simplify it."
)

ANY_OBJECT = '{"type":"object"}'
"""What ``json_object`` asks for."""

MAX_BYTES = 64 * 1024
MAX_DEPTH = 64
"""Nesting of the JSON text: about 32 objects in one another, as each level names its properties first."""
MAX_SUBSCHEMAS = 512
"""A step of the engine waits for the mask: one over 500 optional properties takes about 2 ms, over 2000 about 40."""
MAX_ENUM_VALUES = 1024
MAX_PATTERN_BYTES = 512
MAX_DIVISOR = 10_000
"""An automaton that divides by n has n states."""

FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"},
)

_DIALECTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
)
"""Dialects that agree on every keyword below."""

_ONE = frozenset({"items", "additionalProperties"})
_LISTED = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_RANGES = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_LENGTHS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_OTHERS = frozenset({"$ref", "type", "enum", "const", "required", "pattern", "format"})
_MEANINGLESS = frozenset({"$schema", "$comment", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_KNOWN = _ONE | _LISTED | _NAMED | _RANGES | _LENGTHS | _OTHERS | _MEANINGLESS | {"title", "description"}


def canonical(text: str) -> str:
    """The schema as every later reader sees it: written anew, so that no two parsers can read it differently.

    Raises RequestError whose message names the place by JSON Pointer (RFC 6901).
    """
    if len(text.encode()) > MAX_BYTES:
        raise RequestError(f"A schema has at most {MAX_BYTES} bytes.", field=FIELD)
    schema = _parse(text)
    _check_depth(schema)
    if not isinstance(schema, dict):
        raise RequestError("A schema is a JSON object.", field=FIELD)
    num_values = 0
    for number, (place, subschema) in enumerate(_subschemas(schema)):
        if number == MAX_SUBSCHEMAS:
            raise RequestError(f"A schema has at most {MAX_SUBSCHEMAS} schemas in it, itself included.", field=FIELD)
        _check_keywords(place, subschema)
        num_values += len(subschema.get("enum", ()))
    if num_values > MAX_ENUM_VALUES:
        raise RequestError(f"A schema lists at most {MAX_ENUM_VALUES} values in its enums together.", field=FIELD)
    return json.dumps(schema, separators=(",", ":"))


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RequestError("The schema is not JSON text, or nests too deep.", field=FIELD) from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [member for node in level for member in _members(node)]
        if not level:
            return
    raise RequestError(f"A schema nests at most {MAX_DEPTH} deep.", field=FIELD)


def _members(node: object) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _subschemas(root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema that is an object, each with its place, ``root`` first."""
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        place, schema = waiting.pop()
        if isinstance(schema, dict):
            yield place, schema
            waiting += _children(place, schema)
        elif not isinstance(schema, bool):
            raise _refusal(place, "a schema is an object, true or false")


def _children(place: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword, value in schema.items():
        at = f"{place}/{keyword}"
        if keyword in _ONE:
            yield at, value
        elif keyword in _LISTED:
            if not isinstance(value, list):
                raise _refusal(at, "this is a list of schemas")
            yield from ((f"{at}/{index}", child) for index, child in enumerate(value))
        elif keyword in _NAMED:
            if not isinstance(value, dict):
                raise _refusal(at, "this is an object of schemas")
            yield from ((f"{at}/{name.replace('~', '~0').replace('/', '~1')}", child) for name, child in value.items())


def _check_keywords(place: str, schema: Mapping[str, Any]) -> None:
    known = _KNOWN | {"$id"} if not place else _KNOWN  # elsewhere an id would move what references start from
    for keyword in schema.keys() - known:
        raise _refusal(f"{place}/{keyword}", "this keyword cannot be enforced")
    for keyword, (is_fine, meaning) in _VALUES.items():
        if keyword in schema and not is_fine(schema[keyword]):
            raise _refusal(f"{place}/{keyword}", meaning)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and len(value.encode(errors="surrogatepass")) <= MAX_PATTERN_BYTES


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "$schema": (lambda value: str(value).rstrip("#") in _DIALECTS, "the dialect is draft 2020-12, 2019-09 or 07"),
    "$ref": (lambda value: str(value).startswith("#"), "a reference is to a place in this schema: #, or #/..."),
    "enum": (lambda value: isinstance(value, list), "this is a list of values"),
    "pattern": (_is_pattern, f"a pattern has at most {MAX_PATTERN_BYTES} bytes"),
    "patternProperties": (
        lambda value: all(map(_is_pattern, value)),
        f"its names have {MAX_PATTERN_BYTES} bytes at most",
    ),
    "format": (lambda value: str(value) in FORMATS, f"the formats are {', '.join(sorted(FORMATS))}"),
    # A name may come twice in an object where it is not listed, and counts once for who reads it.
    "minProperties": (lambda value: value in (0, 1), "only 0 and 1 can be enforced; list required properties instead"),
    "multipleOf": (lambda value: _is_number(value) and 0 < value <= MAX_DIVISOR, f"this is at most {MAX_DIVISOR}"),
}
"""What values must be, beside what the compiler checks, and how that is said."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refusal(place: str, meaning: str) -> RequestError:
    shown = place if len(place) <= 100 else f"...{place[-100:]}"
    return RequestError(f"The schema at {shown!r}: {meaning}.", field=FIELD)
