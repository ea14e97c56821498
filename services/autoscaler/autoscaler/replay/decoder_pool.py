"""A simulated decoder: continuous batching with chunked prompts, many steps at a time.

Between two changes (a sequence comes, a prompt is computed, an answer ends) the batch is the same, and each step takes
longer than the one before by a constant, since contexts grow: the time of k such steps is a polynomial in k. So a run
of steps is one event, and exact. How steps are filled is ``llm_decoder.scheduler``'s rule. Memory for keys and values
is taken to suffice, and no prefix to be cached.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from typing import NamedTuple

from autoscaler.replay.clock import Clock
from autoscaler.replay.cluster import Cluster
from autoscaler.replay.pool import Pool, Replica, Task
from trichord.simulation.latency import StepLoad


class _Prompt:
    """A sequence of which no token was made yet."""

    __slots__ = ("computed", "task")

    def __init__(self, task: Task) -> None:
        self.task, self.computed = task, 0


class _Chunk(NamedTuple):
    prompt: _Prompt
    num_tokens: int
    """In each step."""


class _Run(NamedTuple):
    """Steps over one batch."""

    begun_s: float
    num_steps: int
    chunks: list[_Chunk]
    first_s: float
    """Of the first step."""
    growth_s: float
    """What each step takes more than the one before."""

    def seconds(self, num_steps: int) -> float:
        """Of the first ``num_steps``."""
        return num_steps * self.first_s + self.growth_s * (num_steps * (num_steps - 1) / 2)

    def steps_begun(self, elapsed_s: float) -> int:
        """Steps that are over or in progress after so long: at least one."""
        half = self.growth_s / 2
        linear = self.first_s - half
        if half:
            exact = (math.sqrt(linear * linear + 4 * half * elapsed_s) - linear) / (2 * half)
        else:
            exact = elapsed_s / linear
        return min(self.num_steps, max(1, math.ceil(exact - 1e-9)))


class DecoderReplica(Replica):
    """One engine."""

    def __init__(self, pool: Pool, cluster: Cluster) -> None:
        self._pool, self._cluster, self._latency = pool, cluster, cluster.profile.decoder
        self._slots = cluster.max_batch["decoder"]
        self._arrived: list[Task] = []
        self._prompts: deque[_Prompt] = deque()
        self._decoding: list[tuple[int, int, Task]] = []
        """Heap by the step at which the answer is complete."""
        self._numbers = itertools.count()
        self._step = self._num_context_tokens = 0
        self._run: _Run | None = None
        self._is_between_runs = False

    def has_room(self) -> bool:
        """While a slot is free."""
        return self.num_running < self._slots

    def take(self, queue: deque[Task]) -> list[Task]:
        """One sequence; it takes part from the next step on."""
        task = queue.popleft()
        self._arrived.append(task)
        self.num_running += 1
        if self._run is not None:
            self._cut_short(self._run)
        elif not self._is_between_runs:
            self._begin()
        return [task]

    def _cut_short(self, run: _Run) -> None:
        """Ends the run after the step in progress."""
        num_steps = run.steps_begun(self._pool.clock.now_s - run.begun_s)
        if num_steps < run.num_steps:
            self._start(run._replace(num_steps=num_steps))

    def _begin(self) -> None:
        self._prompts.extend(map(_Prompt, self._arrived))
        self._arrived.clear()
        if not self.num_running:
            return
        chunks, num_steps = self._chunks() if self._prompts else ([], 1 << 30)
        if self._decoding:
            num_steps = min(num_steps, self._decoding[0][0] - self._step)
        num_prompt_tokens = sum(chunk.num_tokens for chunk in chunks)
        pairs = sum(num * prompt.computed + num * (num + 1) // 2 for prompt, num in chunks)
        num_decodes = len(self._decoding)
        load = StepLoad(num_prompt_tokens, pairs, num_decodes, self._num_context_tokens + num_decodes)
        growth_s = num_decodes * self._latency.context_token_us / 1e6
        if num_steps > 1 and chunks:
            growth_s += num_prompt_tokens**2 * self._latency.prompt_pair_ns / 1e9
        self._start(_Run(self._pool.clock.now_s, num_steps, chunks, self._latency.step_s(load), growth_s))

    def _chunks(self) -> tuple[list[_Chunk], int]:
        """What of the prompts is in the next steps, and in how many of them just that."""
        num_decodes = len(self._decoding)
        budget = self._cluster.step_tokens - num_decodes
        if num_decodes:
            budget = min(budget, self._cluster.prompt_share * -(-len(self._prompts) // num_decodes))
        first = self._prompts[0]
        if whole := (first.task.positions - first.computed) // budget:
            return [_Chunk(first, budget)], whole
        chunks = []
        for prompt in self._prompts:
            if num_tokens := min(prompt.task.positions - prompt.computed, budget):
                chunks.append(_Chunk(prompt, num_tokens))
                budget -= num_tokens
        return chunks, 1

    def _start(self, run: _Run) -> None:
        self._run = run
        self._pool.clock.at(run.begun_s + run.seconds(run.num_steps), lambda: self._end(run))

    def _end(self, run: _Run) -> None:
        if run is not self._run:
            return  # it was cut short
        num_decodes, taken_s = len(self._decoding), run.seconds(run.num_steps)
        num_tokens = num_decodes + sum(chunk.num_tokens for chunk in run.chunks)
        usage = self._pool.usage
        usage.busy_s += taken_s
        usage.slot_s += taken_s * (num_decodes + len(self._prompts)) / self._slots
        usage.work += num_tokens * run.num_steps
        self._step += run.num_steps
        self._num_context_tokens += num_decodes * run.num_steps
        over = self._finished() + self._prefilled(run)
        self._run, self._is_between_runs = None, True
        self.num_running -= len(over)
        for task in over:
            self._pool.done(task)
        if over:
            self._pool.has_room_again(self)
        self._is_between_runs = False
        self._begin()

    def _finished(self) -> list[Task]:
        over = []
        while self._decoding and self._decoding[0][0] == self._step:
            task = heapq.heappop(self._decoding)[2]
            self._num_context_tokens -= task.positions + task.output_tokens - 1
            over.append(task)
        return over

    def _prefilled(self, run: _Run) -> list[Task]:
        """Moves on the prompts of a run; those that are computed give a token, and some need no other."""
        over = []
        for prompt, num_tokens in run.chunks:
            prompt.computed += num_tokens * run.num_steps
            task = prompt.task
            if prompt.computed < task.positions:
                continue
            self._prompts.remove(prompt)
            task.on_first_token()
            if task.output_tokens == 1:
                over.append(task)
                continue
            self._num_context_tokens += task.positions
            last_step = self._step + task.output_tokens - 1
            heapq.heappush(self._decoding, (last_step, next(self._numbers), task))
        return over


class DecoderPool(Pool):
    """Decoders, all of one kind."""

    def __init__(self, clock: Clock, cluster: Cluster) -> None:
        super().__init__(clock, cluster.startup_s["decoder"], cluster.max_waiting)
        self._cluster = cluster

    def new_replica(self) -> DecoderReplica:
        """An idle one."""
        return DecoderReplica(self, self._cluster)
