"""Tokens held back for a moment, so that many streams do not cost a message a token.

A message's way through Triton and front costs about as much processor time as a token of a small model. So the first
token of an answer goes at once, and what follows in batches, the larger the more streams there are and the fewer cores;
of a stream alone nobody can tell, its text still comes at the rate of a film. Knows nothing of what carries the
messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakSet

from llm_decoder.request import Finish, Sink
from llm_decoder.timings import Timings
from trichord.errors import TrichordError

BASE_HOLD_MS = 15.0
"""Time between two messages of a stream alone."""
MESSAGE_COST_MS = 1.0
"""Processor time of a message up to its reader, measured on two cores (docs/measurements.md)."""
MESSAGES_SHARE = 0.05
"""Of the machine's processor time, what messages may take: each further stream adds so much to the time between two."""


class Pace:
    """How long the streams of one engine hold their tokens. Used by the engine's thread alone."""

    def __init__(self, max_hold_ms: float, num_cores: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``max_hold_ms`` is the longest between two messages of a stream that goes on; 0 sends every token at once.

        ``num_cores``: of the machine, or what of it the process may use.
        """
        self._max_hold_ms, self.clock = max_hold_ms, clock
        self._hold_per_stream_ms = MESSAGE_COST_MS / (MESSAGES_SHARE * num_cores)
        self._streams: WeakSet[CoalescingSink] = WeakSet()
        self._held: dict[CoalescingSink, float] = {}

    def coalesced(self, sink: Sink) -> CoalescingSink:
        """The same sink, sent to less often."""
        stream = CoalescingSink(sink, self)
        self._streams.add(stream)
        return stream

    def hold_s(self) -> float:
        """Seconds between two messages of one stream, as busy as it is now."""
        return min(self._max_hold_ms, BASE_HOLD_MS + (len(self._streams) - 1) * self._hold_per_stream_ms) / 1e3

    def hold(self, stream: CoalescingSink, until_s: float) -> None:
        """Remembers that a stream holds tokens that should go at ``until_s``."""
        self._held.setdefault(stream, until_s)

    def forget(self, stream: CoalescingSink) -> None:
        """The stream holds nothing any more."""
        self._held.pop(stream, None)

    def end(self, stream: CoalescingSink) -> None:
        """The stream is over."""
        self.forget(stream)
        self._streams.discard(stream)

    def send_due(self) -> None:
        """Sends what should have gone by now: of a stream that no step went on with, nothing else would."""
        now_s = self.clock()
        for stream in [stream for stream, until_s in self._held.items() if until_s <= now_s]:
            stream.send_held()


class CoalescingSink:
    """A sink whose tokens go on together. See ``request.Sink``."""

    def __init__(self, sink: Sink, pace: Pace) -> None:
        self._sink, self._pace = sink, pace
        self._token_ids: list[int] = []
        self._logprobs: list[Mapping[int, float]] = []
        self._sent_s = float("-inf")

    def start(self, timings: Timings) -> None:
        """See ``request.Sink``."""
        self._sink.start(timings)

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``request.Sink``."""
        self._token_ids += token_ids
        self._logprobs += logprobs
        hold_s = self._pace.hold_s()
        if self._pace.clock() >= self._sent_s + hold_s:
            self.send_held()
        else:  # as long again for the next token to come along; without one, others send it
            self._pace.hold(self, self._sent_s + 2 * hold_s)
        self._pace.send_due()

    def send_held(self) -> None:
        """Sends what is held, if anything is."""
        token_ids, logprobs = self._take_held()
        if token_ids:
            self._sink.emit(token_ids, logprobs)
            self._sent_s = self._pace.clock()

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``request.Sink``."""
        held_ids, held_logprobs = self._take_held()
        self._pace.end(self)
        self._sink.finish([*held_ids, *token_ids], [*held_logprobs, *logprobs], reason, timings)

    def fail(self, error: TrichordError) -> None:
        """See ``request.Sink``."""
        self.send_held()
        self._pace.end(self)
        self._sink.fail(error)

    def is_cancelled(self) -> bool:
        """See ``request.Sink``."""
        return self._sink.is_cancelled()

    def is_full(self) -> bool:
        """See ``request.Sink``."""
        return self._sink.is_full()

    def _take_held(self) -> tuple[list[int], list[Mapping[int, float]]]:
        held = self._token_ids, self._logprobs
        self._token_ids, self._logprobs = [], []
        self._pace.forget(self)
        return held
