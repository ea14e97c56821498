"""A sequence's way through the engine as spans: its waiting, its prompt, its answer. Knows no engine.

``engine queue``, then ``prefill`` with a ``prefill chunk`` for each step if it took several, then ``decode``: one span,
whose events say what happened on the way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from llm_decoder.trail import Trail
from trichord.telemetry import names, spans


def tell(trail: Trail, parent: Context, attributes: spans.Attributes) -> None:
    """Records the spans of a sequence that is over as children of ``parent``."""
    teller = _Teller(trail, parent, {**attributes, names.SAMPLE: trail.sample})
    if trail.scheduled_s is None:
        teller.last("engine queue", trail.arrival_s, {})
        return
    teller.phase("engine queue", trail.arrival_s, trail.scheduled_s, {})
    if trail.first_token_s is None:
        prefill = teller.last("prefill", trail.scheduled_s, _of_prefill(trail))
    else:
        prefill = teller.phase("prefill", trail.scheduled_s, trail.first_token_s, _of_prefill(trail))
        teller.last("decode", trail.first_token_s, _of_decode(trail))
    teller.chunks(spans.within(prefill))


class _Teller:
    """Turns the monotonic times of one trail into those of spans."""

    def __init__(self, trail: Trail, parent: Context, attributes: spans.Attributes) -> None:
        self._trail, self._parent, self._attributes = trail, parent, attributes
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def phase(self, name: str, began_s: float, ended_s: float, attributes: spans.Attributes, error: str = "") -> Span:
        """A part of the sequence's life, with what happened during it."""
        return spans.record(
            name,
            self._unix_ns(began_s),
            self._unix_ns(ended_s),
            {**self._attributes, **attributes},
            parent=self._parent,
            events=self._events(began_s, ended_s, is_last=ended_s == self._trail.ended_s),
            error=error,
        )

    def last(self, name: str, began_s: float, attributes: spans.Attributes) -> Span:
        """The part in which it ended."""
        return self.phase(name, began_s, self._trail.ended_s, attributes, self._trail.error)

    def chunks(self, prefill: Context) -> None:
        """The chunks of a prompt that took several."""
        if len(self._trail.chunks) > 1:
            for chunk in self._trail.chunks:
                attributes = {names.TOKENS: chunk.num_tokens, names.BATCH_SIZE: chunk.batch_size}
                times_ns = self._unix_ns(chunk.began_s), self._unix_ns(chunk.ended_s)
                spans.record("prefill chunk", *times_ns, attributes, parent=prefill)

    def _events(self, began_s: float, ended_s: float, *, is_last: bool) -> Iterator[tuple[str, int]]:
        for name, at_s in self._trail.events:
            if began_s <= at_s < ended_s or (is_last and at_s == ended_s):
                yield name, self._unix_ns(at_s)

    def _unix_ns(self, at_s: float) -> int:
        return self._epoch_ns + int(at_s * 1e9)


def _of_prefill(trail: Trail) -> Mapping[str, AttributeValue]:
    return {
        names.TOKENS: sum(chunk.num_tokens for chunk in trail.chunks),
        names.CACHED_TOKENS: trail.num_cached_tokens,
        names.CHUNKS: len(trail.chunks),
    }


def _of_decode(trail: Trail) -> Mapping[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        names.TOKENS: trail.num_output_tokens,
        names.PREEMPTIONS: trail.num_preemptions,
    }
    if trail.finish:
        attributes[names.FINISH_REASONS] = (trail.finish,)
    if sizes := trail.batch_sizes:
        attributes |= {
            names.STEPS: len(sizes),
            names.BATCH_SIZE_MIN: min(sizes),
            names.BATCH_SIZE_MAX: max(sizes),
            names.BATCH_SIZE_MEAN: sum(sizes) / len(sizes),
        }
    return attributes
