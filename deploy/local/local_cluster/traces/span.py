"""One span as it is kept: what OTLP says of it, shortened where it says too much. Knows no encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

Scalar = str | int | float | bool
Value = Scalar | list[Scalar]
Attributes = Mapping[str, Value]

_SPAN_BYTES, _PART_BYTES = 1200, 240
"""What Python needs around the texts of a span, and of an attribute, event or link; measured, rounded up."""


class Event(NamedTuple):
    """Something that happened at one moment."""

    name: str
    at_ns: int
    attributes: Attributes


class Link(NamedTuple):
    """Another span that has to do with this one."""

    trace_id: str
    span_id: str


@dataclass(frozen=True)
class Span:
    """Ids are lower-case hex; times are Unix nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty at a root."""
    name: str
    service: str
    instance: str
    """Which process of the service; empty if it did not say."""
    kind: str
    """``internal``, ``server``, ``client``, ``producer`` or ``consumer``."""
    start_ns: int
    end_ns: int
    """Not before the start."""
    is_failed: bool
    attributes: Attributes
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()

    def text(self, name: str) -> str:
        """An attribute that is a text; empty if it is not there, or no text."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else ""

    def num_bytes(self) -> int:
        """What it takes in memory, about."""
        events = sum(_PART_BYTES + len(event.name) + _size(event.attributes) for event in self.events)
        texts = len(self.name) + len(self.service) + len(self.instance)
        return _SPAN_BYTES + texts + _size(self.attributes) + events + _PART_BYTES * len(self.links)


def _size(attributes: Attributes) -> int:
    return sum(_PART_BYTES + len(name) + _value_size(value) for name, value in attributes.items())


def _value_size(value: Value) -> int:
    if isinstance(value, list):
        return sum(_PART_BYTES + _value_size(one) for one in value)
    return 4 * len(value) if isinstance(value, str) else 8
