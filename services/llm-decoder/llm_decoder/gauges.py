"""What the engine is doing, as numbers: for metrics, for routing, for scaling.

Written by the engine's thread, read by any; each value is replaced whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llm_decoder.scheduler import Scheduled, Scheduler

SMOOTHING = 0.1
"""Weight of the newest step in the running mean of tokens a second."""


class Reading(NamedTuple):
    """The engine as of its last step."""

    num_running: int = 0
    num_waiting: int = 0
    num_resting: int = 0
    """Sequences in progress that wait for their readers to take what is undelivered."""
    kv_use: float = 0.0
    """Share of the cache's blocks that sequences hold."""
    batch_size: int = 0
    """Sequences in the step."""
    step_tokens: int = 0
    """Tokens computed in the step."""
    tokens_per_second: float = 0.0
    """Tokens sampled a second, a running mean over steps."""


class Totals(NamedTuple):
    """What the engine did since it started."""

    steps: int = 0
    step_seconds: float = 0.0
    """All steps together; what is left of the time the engine waited."""
    prompt_tokens: int = 0
    """Tokens of prompts computed, again after a preemption too; one that was left alone counts as an answer's."""
    cached_tokens: int = 0
    """Tokens of prompts found in the cache."""
    output_tokens: int = 0
    """Tokens sampled."""
    preemptions: int = 0


class Gauges:
    """The latest reading, and the totals."""

    def __init__(self) -> None:
        self.reading, self.totals = Reading(), Totals()

    def step(self, scheduler: Scheduler, step: Sequence[Scheduled], *, num_sampled: int, seconds: float) -> None:
        """Notes a step that took ``seconds`` and yielded ``num_sampled`` tokens."""
        blocks = scheduler.blocks
        before, now = self.reading.tokens_per_second, num_sampled / max(seconds, 1e-9)
        self.reading = Reading(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            num_resting=scheduler.num_resting,
            kv_use=1 - blocks.num_free_blocks / blocks.num_blocks,
            batch_size=len(step),
            step_tokens=sum(scheduled.num_tokens for scheduled in step),
            tokens_per_second=before + SMOOTHING * (now - before) if before else now,
        )
        totals = self.totals
        self.totals = Totals(
            steps=totals.steps + 1,
            step_seconds=totals.step_seconds + seconds,
            prompt_tokens=totals.prompt_tokens + sum(number for _, number in step if number > 1),
            cached_tokens=scheduler.num_cached_tokens,
            output_tokens=totals.output_tokens + num_sampled,
            preemptions=scheduler.num_preemptions,
        )

    def rest(self, scheduler: Scheduler) -> None:
        """Notes that every sequence waits for its reader, so that there is no step."""
        self.reading = self.reading._replace(num_resting=scheduler.num_resting, batch_size=0, step_tokens=0)

    def idle(self) -> None:
        """Notes that there is nothing to do. What was done stays done."""
        self.reading = Reading()
