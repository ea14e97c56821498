"""What a traced sequence meets in the engine, as plain numbers. Sequences that nobody traces have none.

Written by the engine's thread until the sequence is over. Times are monotonic, in seconds. Knows no spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from llm_decoder.scheduler import Scheduled

MAX_CHUNKS = 32
"""Chunks of a prompt that are told one by one; all further ones are told as one."""
MAX_EVENTS = 100


class Chunk(NamedTuple):
    """A step's share of a prompt."""

    began_s: float
    ended_s: float
    num_tokens: int
    batch_size: int
    """Sequences in the step; in the last one."""


class Event(NamedTuple):
    """Something that happened at once."""

    name: str
    at_s: float


@dataclass
class Trail:
    """From the arrival of a sequence to its end."""

    arrival_s: float
    sample: int = 0
    """Which of the answers drawn from one prompt."""
    scheduled_s: float | None = None
    """When it first started; None if it only waited."""
    first_token_s: float | None = None
    ended_s: float = 0.0
    num_cached_tokens: int = 0
    """Tokens of the prompt that were found in the cache."""
    num_output_tokens: int = 0
    num_preemptions: int = 0
    finish: str = ""
    """Why the answer was complete; empty if it was not."""
    error: str = ""
    """What ended it otherwise; empty if its reader wanted no more."""
    chunks: list[Chunk] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    """Sequences in each step in which it decoded."""

    def starts(self, now_s: float, num_cached_tokens: int) -> None:
        """It is given its blocks, for the first time or again."""
        if self.scheduled_s is None:
            self.scheduled_s, self.num_cached_tokens = now_s, num_cached_tokens
        else:
            self.note("resumed", now_s)

    def preempted(self, now_s: float) -> None:
        """Its blocks are taken from it."""
        self.num_preemptions += 1
        self.note("preempted", now_s)

    def note(self, event: str, now_s: float) -> None:
        """Something else happens. What happens too often is not told."""
        if len(self.events) < MAX_EVENTS:
            self.events.append(Event(event, now_s))

    def chunk(self, chunk: Chunk) -> None:
        """A step computed some of the prompt."""
        if len(self.chunks) == MAX_CHUNKS:
            last = self.chunks.pop()
            chunk = chunk._replace(began_s=last.began_s, num_tokens=last.num_tokens + chunk.num_tokens)
        self.chunks.append(chunk)


def note_step(step: Sequence[Scheduled], began_s: float, ended_s: float) -> None:
    """Notes a step in the trails of its sequences; call it before its tokens are delivered."""
    for request, num_tokens in step:
        trail = request.trail
        if trail is None or request.is_over:
            continue
        if request.output_ids:
            trail.batch_sizes.append(len(step))
        else:
            trail.chunk(Chunk(began_s, ended_s, num_tokens, len(step)))
