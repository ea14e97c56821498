"""Which sequences run in the next step, and with how many tokens.

Pure: no tensors, no threads, no clock but the one handed in. Continuous batching (Orca, OSDI '22) over a paged cache
(arXiv 2309.06180) with chunked prefill (Sarathi, arXiv 2308.16369): every decoding sequence takes part in every step,
and prompts fill what is left of the step's token budget, so that a long prompt never stalls the streams being read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from llm_decoder.block_manager import BlockManager
from llm_decoder.request import Request
from trichord.errors import ContextLengthError, OverloadedError


class Scheduled(NamedTuple):
    """A sequence's share of a step: its next ``num_tokens`` uncomputed tokens."""

    request: Request
    num_tokens: int

    @property
    def yields_token(self) -> bool:
        """Whether the step completes everything the sequence has, so that a next token can be sampled."""
        return self.num_tokens == self.request.num_uncomputed_tokens


@dataclass(frozen=True)
class Limits:
    """Bounds of the scheduler."""

    max_running: int
    """Sequences in progress at once."""
    max_waiting: int
    """Sequences that wait; more are refused."""
    step_tokens: int
    """Tokens of a step, decoding and prompts together: bounds how long a prompt holds the others up."""
    prompt_share: int | None = None
    """Prompt tokens of a step for each decoding sequence's patience: beside d sequences that decode, p prompts get
    ``prompt_share`` * ceil(p / d) tokens. One long prompt then hardly slows many streams, and many prompts are not held
    up by one. None: whatever the step leaves."""
    ageing_s: float = 10.0
    """Seconds of waiting that make up for one level of priority, so that nothing waits for ever."""

    def __post_init__(self) -> None:
        assert self.step_tokens > self.max_running > 0, "every running sequence must fit a step with room for a prompt"


class Scheduler:
    """Running and waiting sequences, over the blocks of a cache."""

    def __init__(self, blocks: BlockManager, limits: Limits) -> None:
        self.blocks, self.limits = blocks, limits
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.num_resting = 0
        """Sequences that ran and were left out of the last step, because their readers are behind."""
        self.num_cached_tokens = 0
        """Tokens of prompts that were found in the cache, since the start."""
        self.num_preemptions = 0
        """Since the start."""

    @property
    def has_work(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self.running or self.waiting)

    def sequences(self) -> Iterator[Request]:
        """Every sequence that is not over."""
        yield from (*self.running, *self.waiting)

    def add(self, request: Request) -> None:
        """Takes a new sequence. Raises OverloadedError if too many wait, ContextLengthError if it can never fit."""
        if len(self.waiting) >= self.limits.max_waiting:
            message = f"{self.limits.max_waiting} requests wait already. Try again later."
            raise OverloadedError(message, retry_after_s=1.0)
        longest = len(request.prompt_ids) + request.sampling.max_tokens
        if self.blocks.num_blocks_for(longest) > self.blocks.num_blocks:
            raise ContextLengthError("Prompt and answer do not fit the cache of this replica. Ask for fewer tokens.")
        self.waiting.append(request)

    def remove(self, request: Request) -> None:
        """Forgets a sequence that is over, running or waiting, and gives its blocks back."""
        (self.running if request in self.running else self.waiting).remove(request)
        self._give_back(request)
        request.is_over = True

    def schedule(self, now_s: float) -> list[Scheduled]:
        """The next step: one token of each decoding sequence, then chunks of prompts, the first to go first.

        May move sequences between waiting and running; everything scheduled holds the blocks it needs.
        """
        self._admit(now_s)
        step: list[Scheduled] = []
        by_rank = sorted(self.running, key=lambda request: self._rank(request, now_s))
        active = [request for request in by_rank if not request.sink.is_full()]
        self.num_resting = len(by_rank) - len(active)
        for request in active:
            if request.is_decoding and self._make_room(request, step, now_s):
                step.append(Scheduled(request, 1))
        taken = {scheduled.request for scheduled in step}
        prompts = [r for r in active if r.holds_blocks and r.num_uncomputed_tokens and r not in taken]
        budget = self._prompt_budget(len(step), len(prompts))
        for request in prompts:
            if num_tokens := min(request.num_uncomputed_tokens, budget):
                step.append(Scheduled(request, num_tokens))
                budget -= num_tokens
        return step

    def _prompt_budget(self, num_decodes: int, num_prompts: int) -> int:
        """Tokens of ``num_prompts`` prompts that fit a step beside ``num_decodes`` decoding sequences."""
        left = self.limits.step_tokens - num_decodes
        if self.limits.prompt_share is None or not num_decodes:
            return left
        return min(left, self.limits.prompt_share * -(-num_prompts // num_decodes))

    def computed(self, step: list[Scheduled]) -> None:
        """Notes that a step was computed: its tokens are in the cache, and its full blocks may be shared."""
        for request, num_tokens in step:
            request.num_computed_tokens += num_tokens
            self.publish(request, request.num_computed_tokens - num_tokens, request.num_computed_tokens)

    def publish(self, request: Request, start: int, stop: int) -> None:
        """Makes the blocks that positions ``start`` to ``stop`` - 1 fill known; all token ids up to there are known."""
        keys = request.keys_of_full_blocks(stop, self.blocks.block_size)
        for index in range(start // self.blocks.block_size, len(keys)):
            self.blocks.publish(request.block_table[index], keys[index])

    def check_integrity(self) -> None:
        """Recounts: every block is free or held by exactly the running sequences whose tables name it."""
        self.blocks.check_integrity([request.block_table for request in self.running])
        assert not any(request.block_table for request in self.waiting), "a waiting sequence holds blocks"

    def _rank(self, request: Request, now_s: float) -> tuple[int, float]:
        """Smaller goes first: by priority, which falls with age, then by arrival."""
        aged = int((now_s - request.arrival_s) / self.limits.ageing_s)
        return max(0, request.priority - aged), request.arrival_s

    def _admit(self, now_s: float) -> None:
        for request in sorted(self.waiting, key=lambda request: self._rank(request, now_s)):
            if not request.is_ready_to_start or request.sink.is_full():
                continue
            while len(self.running) >= self.limits.max_running or not self._take_blocks(request):
                if not self._displace_for(request, now_s):
                    return  # nothing that came later overtakes it: it would starve
            self.waiting.remove(request)
            self.running.append(request)
            if request.scheduled_s is None:
                request.scheduled_s = now_s
                request.num_cached_tokens = request.num_computed_tokens
                self.num_cached_tokens += request.num_cached_tokens
            if request.trail:
                request.trail.starts(now_s, request.num_cached_tokens)

    def _displace_for(self, request: Request, now_s: float) -> bool:
        """Preempts the last in rank of the running that rest or, if none do, that are of a lower priority."""
        resting = [running for running in self.running if running.sink.is_full()]
        last = max(resting or self.running, key=lambda running: self._rank(running, now_s), default=None)
        if last is None or not (resting or self._rank(last, now_s)[0] > self._rank(request, now_s)[0]):
            return False
        self._preempt(last, now_s)
        return True

    def _take_blocks(self, request: Request) -> bool:
        """Blocks for all tokens that the sequence has, known prefixes first; False, and none held, if they lack."""
        # The last token is always computed: its logits are what the next one is drawn from.
        keys = request.keys_of_full_blocks(request.num_tokens - 1, self.blocks.block_size)
        table = self.blocks.take_prefix(keys)
        missing = self.blocks.num_blocks_for(request.num_tokens) - len(table)
        # One spare for each running sequence, or it would be preempted at its next block.
        if missing + len(self.running) > self.blocks.num_free_blocks:
            self.blocks.release(table)
            return False
        request.num_computed_tokens = len(table) * self.blocks.block_size
        request.block_table = [*table, *self.blocks.take(missing)]
        return True

    def _make_room(self, request: Request, step: list[Scheduled], now_s: float) -> bool:
        """A block for the sequence's next token, if need be from the last in rank; False if that is itself."""
        if not request.holds_blocks:
            return False  # preempted for one before it
        if self.blocks.num_blocks_for(request.num_tokens) <= len(request.block_table):
            return True
        scheduled = {entry.request for entry in step}
        while not self.blocks.num_free_blocks:
            victims = [victim for victim in self.running if victim not in scheduled]
            victim = max(victims, key=lambda victim: self._rank(victim, now_s))
            self._preempt(victim, now_s)
            if victim is request:
                return False
        request.block_table += self.blocks.take(1)
        return True

    def _preempt(self, request: Request, now_s: float) -> None:
        """Back to waiting; its tokens will be computed again, less what is still known of them."""
        self._give_back(request)
        request.num_preemptions += 1
        if request.trail:
            request.trail.preempted(now_s)
        self.num_preemptions += 1
        self.running.remove(request)
        self.waiting.append(request)

    def _give_back(self, request: Request) -> None:
        self.blocks.release(request.block_table)
        request.block_table = []
        request.num_computed_tokens = 0
