"""One sequence in the engine: its prompt, what it has generated, and where its tokens go.

Knows no tensors but its media rows, which it only carries; knows nothing of scheduling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llm_decoder.sampling_limits import Sampling
from trichord.model_config import LlmConfig

if TYPE_CHECKING:
    import torch


class Finish(IntEnum):
    """Why a sequence ended; the numbers are FinishReason's in decoder.proto."""

    END_OF_TURN = 1
    LENGTH = 3


class Timings(NamedTuple):
    """Where a sequence's time went, in milliseconds; first_token_ms counts from its arrival."""

    queue_ms: float
    prefill_ms: float
    first_token_ms: float
    decode_ms: float


class Span(NamedTuple):
    """Consecutive positions of the prompt that stand for rows of media."""

    start: int
    num_tokens: int


class Sink(Protocol):
    """Where a sequence's tokens go. Called from the engine's thread; must not block and must not raise."""

    def emit(self, token_ids: Sequence[int]) -> None:
        """More tokens."""

    def finish(self, token_ids: Sequence[int], reason: Finish, timings: Timings) -> None:
        """The last tokens, and why there are no more."""

    def fail(self, message: str) -> None:
        """The sequence could not be computed."""

    def is_cancelled(self) -> bool:
        """Whether nobody reads on."""


@dataclass(eq=False)
class Request:
    """A sequence, from its arrival to its last token."""

    prompt_ids: Sequence[int]
    sampling: Sampling
    stop_token_ids: frozenset[int]
    sink: Sink
    arrival_s: float
    """Monotonic time of arrival, in seconds."""
    media_rows: torch.Tensor | None = None
    """Rows [m, hidden] of all media, in the order of the spans."""
    spans: Sequence[Span] = ()
    """Where those rows stand in the prompt, ascending."""

    output_ids: list[int] = field(default_factory=list)
    output_counts: Counter[int] = field(default_factory=Counter)
    num_computed_tokens: int = 0
    """Tokens of prompt and output whose keys and values are in the cache."""
    slot: int | None = None
    scheduled_s: float = 0.0
    first_token_s: float = 0.0

    def check(self, config: LlmConfig) -> None:
        """Raises ValueError if the engine could not compute this: the front has checked it all, but memory is at stake."""
        num_rows = 0 if self.media_rows is None else self.media_rows.shape[0]
        if not 0 < len(self.prompt_ids) <= config.max_position_embeddings - self.sampling.max_tokens:
            raise ValueError("Prompt and answer do not fit the context.")
        if not all(0 <= token_id < config.vocab_size for token_id in self.prompt_ids):
            raise ValueError("A token id is outside the vocabulary.")
        if self.media_rows is not None and self.media_rows.shape[1] != config.hidden_size:
            raise ValueError("Media rows are not of the model's width.")
        if sum(span.num_tokens for span in self.spans) != num_rows:
            raise ValueError("Spans and media rows do not agree.")
        if any(span.start < 0 or span.start + span.num_tokens > len(self.prompt_ids) for span in self.spans):
            raise ValueError("A span is outside the prompt.")

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and output so far."""
        return len(self.prompt_ids) + len(self.output_ids)

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens that the next steps have to compute: the rest of the prompt, or the last output."""
        return self.num_tokens - self.num_computed_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether the whole prompt is in the cache."""
        return self.num_computed_tokens >= len(self.prompt_ids)

    @property
    def bans_stop_tokens(self) -> bool:
        """Whether the turn may not end yet."""
        return self.sampling.ignore_eos or len(self.output_ids) < self.sampling.min_tokens

    def token_ids(self, start: int, stop: int) -> list[int]:
        """Tokens at positions start to stop - 1 of prompt and output."""
        prompt_length = len(self.prompt_ids)
        outputs = self.output_ids[max(0, start - prompt_length) : max(0, stop - prompt_length)]
        return [*self.prompt_ids[start:stop], *outputs]

    def append(self, token_id: int, now_s: float) -> Finish | None:
        """Adds a sampled token; says why the sequence is over, if it is."""
        if not self.output_ids:
            self.first_token_s = now_s
        self.output_ids.append(token_id)
        self.output_counts[token_id] += 1
        if token_id in self.stop_token_ids and not self.sampling.ignore_eos:
            return Finish.END_OF_TURN
        return Finish.LENGTH if len(self.output_ids) >= self.sampling.max_tokens else None

    def timings(self, now_s: float) -> Timings:
        """Where the time went, the last token having come at ``now_s``."""
        return Timings(
            queue_ms=(self.scheduled_s - self.arrival_s) * 1e3,
            prefill_ms=(self.first_token_s - self.scheduled_s) * 1e3,
            first_token_ms=(self.first_token_s - self.arrival_s) * 1e3,
            decode_ms=(now_s - self.first_token_s) * 1e3,
        )
