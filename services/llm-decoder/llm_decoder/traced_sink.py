"""A sink that notes in a trail what passes through it, and tells when the sequence is over. Knows no spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from llm_decoder.request import Finish, Sink
from llm_decoder.timings import Timings
from llm_decoder.trail import Trail
from trichord.errors import TrichordError
from trichord.telemetry import names


class SatisfiableSink(Sink, Protocol):
    """A sink that can tell a reader who has enough from one who gave up."""

    @property
    def is_satisfied(self) -> bool:
        """Whether its reader wants no more because the answer is complete."""


class TracedSink:
    """The sink of a sequence that is traced. See ``request.Sink``."""

    def __init__(
        self,
        sink: SatisfiableSink,
        trail: Trail,
        tell: Callable[[Trail], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``tell`` is called once, with the finished trail, from the engine's thread."""
        self._sink, self._trail, self._tell, self._clock = sink, trail, tell, clock
        self._is_unwanted = self._rests = False

    def start(self, timings: Timings) -> None:
        """See ``request.Sink``."""
        self._trail.first_token_s = self._trail.arrival_s + timings.first_token_ms / 1e3
        self._trail.note(names.FIRST_TOKEN, self._trail.first_token_s)
        self._sink.start(timings)

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``request.Sink``."""
        self._trail.num_output_tokens += len(token_ids)
        self._sink.emit(token_ids, logprobs)

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``request.Sink``."""
        self._trail.num_output_tokens += len(token_ids)
        self._sink.finish(token_ids, logprobs, reason, timings)
        self._trail.finish = reason.name.lower()
        self._end()

    def fail(self, error: TrichordError) -> None:
        """See ``request.Sink``."""
        if not self._is_unwanted:
            self._trail.error = error.reason
        elif not self._sink.is_satisfied:
            self._trail.error = "CANCELLED"
        self._sink.fail(error)
        self._end()

    def is_cancelled(self) -> bool:
        """See ``request.Sink``."""
        self._is_unwanted = self._sink.is_cancelled()
        return self._is_unwanted

    def is_full(self) -> bool:
        """See ``request.Sink``."""
        rests = self._sink.is_full()
        if rests != self._rests:
            self._rests = rests
            self._trail.note("rests" if rests else "goes on", self._clock())
        return rests

    def _end(self) -> None:
        self._trail.ended_s = self._clock()
        self._tell(self._trail)
