"""One sequence in the engine: its prompt, what it has generated, what it holds, and where its tokens go.

Knows no tensors but its media rows, which it only carries; decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llm_decoder.block_manager import BlockKey, block_key, root_key
from llm_decoder.sampling_limits import Sampling
from llm_decoder.timings import Timings
from llm_decoder.trail import Trail
from trichord.errors import RequestError, TrichordError
from trichord.model_config import LlmConfig

if TYPE_CHECKING:
    import torch


class Finish(IntEnum):
    """Why a sequence ended; the numbers are FinishReason's in decoder.proto."""

    END_OF_TURN = 1
    LENGTH = 3


class Priority(IntEnum):
    """Who goes first; the numbers are Priority's in decoder.proto less one."""

    LIVE = 0
    BATCH = 1


class Span(NamedTuple):
    """Consecutive positions of the prompt that stand for the rows of one run of media."""

    start: int
    num_tokens: int
    identity: str = ""
    """What the rows are: a digest of the embedding, and the first of its rows that stands here."""


class Sink(Protocol):
    """Where a sequence's tokens go. Called from the engine's thread; must not block and must not raise."""

    def start(self, timings: Timings) -> None:
        """The first token is about to come; what is known so far of where the time went."""

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """More tokens and, if they were asked for, the log-probabilities of each and of its likeliest rivals."""

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """The last tokens, and why there are no more."""

    def fail(self, error: TrichordError) -> None:
        """The sequence could not be computed."""

    def is_cancelled(self) -> bool:
        """Whether nobody reads on."""

    def is_full(self) -> bool:
        """Whether so much is undelivered that the sequence should rest."""


@dataclass(eq=False)
class Request:
    """A sequence, from its arrival to its last token."""

    prompt_ids: Sequence[int]
    sampling: Sampling
    stop_token_ids: frozenset[int]
    sink: Sink
    arrival_s: float
    """Monotonic time of arrival, in seconds."""
    deadline_s: float = float("inf")
    """Monotonic time after which nobody wants the answer."""
    priority: Priority = Priority.LIVE
    scope: str = ""
    """Whose prefixes it may share: a tenant, set by the gateway."""
    media_rows: torch.Tensor | None = None
    """Rows [m, hidden] of all media, in the order of the spans."""
    spans: Sequence[Span] = ()
    """Where those rows stand in the prompt, ascending."""
    leader: Request | None = None
    """Another sample of the same prompt; this one starts when that one's prompt is in the cache, and shares it."""
    trail: Trail | None = None
    """What it meets, if it is traced."""

    allowed_tokens: Callable[[Sequence[int]], torch.Tensor] | None = None
    """Constrained decoding: output so far to a bool mask [V] of the tokens that may come next, or a TrichordError."""
    error: TrichordError | None = field(default=None, init=False)
    """Why it cannot go on: noted while a step is sampled, and acted on when the step is delivered."""

    output_ids: list[int] = field(default_factory=list, init=False)
    output_counts: Counter[int] = field(default_factory=Counter, init=False)
    num_unseen_tokens: int = field(default=0, init=False)
    """Tokens of the answer behind ``output_ids``: sampled on the device, and their ids not known here yet."""
    num_computed_tokens: int = field(default=0, init=False)
    """Tokens of prompt and output whose keys and values are in the cache."""
    block_table: list[int] = field(default_factory=list, init=False)
    """The blocks that hold them, in order, and those taken for the tokens to come."""
    block_keys: list[BlockKey] = field(default_factory=list, init=False)
    """Keys of the full blocks so far."""
    num_cached_tokens: int = field(default=0, init=False)
    """Tokens of the prompt that were found in the cache when the sequence first started."""
    num_preemptions: int = field(default=0, init=False)
    scheduled_s: float | None = field(default=None, init=False)
    first_token_s: float = field(default=0.0, init=False)
    last_token_s: float = field(default=0.0, init=False)
    is_over: bool = field(default=False, init=False)

    def check(self, config: LlmConfig) -> None:
        """Raises RequestError if the engine could not compute this: the front checked it, but memory is at stake."""
        num_rows = 0 if self.media_rows is None else self.media_rows.shape[0]
        if not 0 < len(self.prompt_ids) <= config.max_position_embeddings - self.sampling.max_tokens:
            raise RequestError("Prompt and answer do not fit the context.")
        if not all(0 <= token_id < config.vocab_size for token_id in self.prompt_ids):
            raise RequestError("A token id is outside the vocabulary.")
        if not all(0 <= token_id < config.vocab_size for token_id in self.sampling.logit_bias):
            raise RequestError("A biased token is outside the vocabulary.")
        if self.media_rows is not None and self.media_rows.shape[1] != config.hidden_size:
            raise RequestError("Media rows are not of the model's width.")
        if sum(span.num_tokens for span in self.spans) != num_rows:
            raise RequestError("Spans and media rows do not agree.")
        if any(span.start < 0 or span.start + span.num_tokens > len(self.prompt_ids) for span in self.spans):
            raise RequestError("A span is outside the prompt.")

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and output so far."""
        return len(self.prompt_ids) + self.num_output_tokens

    @property
    def num_output_tokens(self) -> int:
        """Tokens of the answer so far, known here or not."""
        return len(self.output_ids) + self.num_unseen_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens that the next steps have to compute: the rest of the prompt, or the last output."""
        longest = len(self.prompt_ids) + self.sampling.max_tokens - 1  # nothing follows the last: it is never computed
        return min(self.num_tokens, longest) - self.num_computed_tokens

    @property
    def is_decoding(self) -> bool:
        """Whether one more token completes what the sequence has."""
        return self.num_uncomputed_tokens == 1

    @property
    def holds_blocks(self) -> bool:
        """Whether it runs: neither waits, nor was preempted, nor is over."""
        return bool(self.block_table)

    @property
    def is_ready_to_start(self) -> bool:
        """Whether it need not wait for the sample whose prompt it shares."""
        return self.leader is None or self.leader.is_over or bool(self.leader.output_ids)

    @property
    def bans_stop_tokens(self) -> bool:
        """Whether the turn may not end yet."""
        return not self.sampling.ignore_eos and self.num_output_tokens < self.sampling.min_tokens

    def token_ids(self, start: int, stop: int) -> list[int]:
        """Tokens at positions start to stop - 1 of prompt and output."""
        prompt_length = len(self.prompt_ids)
        outputs = self.output_ids[max(0, start - prompt_length) : max(0, stop - prompt_length)]
        return [*self.prompt_ids[start:stop], *outputs]

    def keys_of_full_blocks(self, num_tokens: int, block_size: int) -> list[BlockKey]:
        """Keys of the blocks that the first ``num_tokens`` tokens fill."""
        for index in range(len(self.block_keys), num_tokens // block_size):
            start = index * block_size
            stop = start + block_size
            reaching = [span for span in self.spans if span.start < stop and span.start + span.num_tokens > start]
            media = [(span.start - start, span.identity) for span in reaching]
            before = self.block_keys[-1] if self.block_keys else root_key(self.scope)
            self.block_keys.append(block_key(before, self.token_ids(start, stop), media))
        return self.block_keys[: num_tokens // block_size]

    def append(self, token_id: int, now_s: float) -> Finish | None:
        """Adds a sampled token; says why the sequence is over, if it is."""
        if not self.output_ids:
            self.first_token_s = now_s
        self.last_token_s = now_s
        self.output_ids.append(token_id)
        self.output_counts[token_id] += 1
        if token_id in self.stop_token_ids and not self.sampling.ignore_eos:
            return Finish.END_OF_TURN
        return Finish.LENGTH if len(self.output_ids) >= self.sampling.max_tokens else None

    def timings(self) -> Timings:
        """Where the time went until the last token."""
        scheduled_s = self.arrival_s if self.scheduled_s is None else self.scheduled_s
        return Timings(
            queue_ms=(scheduled_s - self.arrival_s) * 1e3,
            prefill_ms=(self.first_token_s - scheduled_s) * 1e3,
            first_token_ms=(self.first_token_s - self.arrival_s) * 1e3,
            decode_ms=(self.last_token_s - self.first_token_s) * 1e3,
            num_cached_tokens=self.num_cached_tokens,
            num_preemptions=self.num_preemptions,
        )
