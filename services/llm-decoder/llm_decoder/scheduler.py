"""Which sequences run in the next step, and with how many tokens.

Pure: no tensors, no threads, no clock but the one handed in. Continuous batching (Orca, OSDI '22) with chunked prefill
(Sarathi, arXiv 2308.16369): every decoding sequence takes part in every step, and prompts fill what is left of the
step's token budget, so that a long prompt never stalls the streams that are being read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from llm_decoder.request import Request
from trichord.errors import OverloadedError


class Scheduled(NamedTuple):
    """A sequence's share of a step: its next ``num_tokens`` uncomputed tokens."""

    request: Request
    num_tokens: int

    @property
    def yields_token(self) -> bool:
        """Whether the step completes everything the sequence has, so that a next token can be sampled."""
        return self.num_tokens == self.request.num_uncomputed_tokens


class Scheduler:
    """Slots, a bounded queue in order of arrival, and a token budget a step."""

    def __init__(self, *, num_slots: int, max_waiting: int, step_tokens: int) -> None:
        assert step_tokens > num_slots > 0, "every running sequence must fit a step with room for a prompt"
        self.max_waiting, self.step_tokens, self.num_slots = max_waiting, step_tokens, num_slots
        self.free_slots = list(range(num_slots - 1, -1, -1))
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []

    @property
    def has_work(self) -> bool:
        """Whether any sequence runs or waits."""
        return bool(self.running or self.waiting)

    def sequences(self) -> Iterator[Request]:
        """Every sequence that is not over."""
        yield from (*self.running, *self.waiting)

    def add(self, request: Request) -> None:
        """Takes a new sequence. Raises OverloadedError if too many wait already."""
        if len(self.waiting) >= self.max_waiting:
            raise OverloadedError(f"{self.max_waiting} requests wait already. Try again later.", retry_after_s=1.0)
        self.waiting.append(request)

    def remove(self, request: Request) -> None:
        """Forgets a sequence, running or waiting, and frees its slot."""
        if request.slot is None:
            self.waiting.remove(request)
            return
        self.running.remove(request)
        self.free_slots.append(request.slot)
        # The lowest slot is taken first, so that those in use stay side by side in the cache.
        self.free_slots.sort(reverse=True)
        request.slot = None

    def schedule(self, now_s: float) -> list[Scheduled]:
        """The next step: decoding sequences first, then prompts in order of arrival."""
        while self.waiting and self.free_slots:
            self._admit(self.waiting.popleft(), now_s)
        step = [Scheduled(request, 1) for request in self.running if request.is_decoding]
        budget = self.step_tokens - len(step)
        for request in self.running:
            if not request.is_decoding and budget > 0:
                num_tokens = min(request.num_uncomputed_tokens, budget)
                step.append(Scheduled(request, num_tokens))
                budget -= num_tokens
        return step

    def check_integrity(self) -> None:
        """Recounts the slots: each is free or held by exactly one running sequence."""
        held = [request.slot for request in self.running]
        assert sorted([*held, *self.free_slots], key=str) == sorted(range(self.num_slots), key=str), "slots leaked"
        assert all(request.slot is None for request in self.waiting), "a waiting sequence holds a slot"

    def _admit(self, request: Request, now_s: float) -> None:
        request.slot, request.scheduled_s = self.free_slots.pop(), now_s
        self.running.append(request)
