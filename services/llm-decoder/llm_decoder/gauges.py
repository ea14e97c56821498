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
    kv_use: float = 0.0
    """Share of the cache's blocks that sequences hold."""
    batch_size: int = 0
    """Sequences in the step."""
    step_tokens: int = 0
    """Tokens computed in the step."""
    tokens_per_second: float = 0.0
    """Tokens sampled a second, a running mean over steps."""


class Gauges:
    """The latest reading."""

    def __init__(self) -> None:
        self.reading = Reading()

    def step(self, scheduler: Scheduler, step: Sequence[Scheduled], *, num_sampled: int, seconds: float) -> None:
        """Notes a step that took ``seconds`` and yielded ``num_sampled`` tokens."""
        blocks = scheduler.blocks
        before, now = self.reading.tokens_per_second, num_sampled / max(seconds, 1e-9)
        self.reading = Reading(
            num_running=len(scheduler.running),
            num_waiting=len(scheduler.waiting),
            kv_use=1 - blocks.num_free_blocks / blocks.num_blocks,
            batch_size=len(step),
            step_tokens=sum(scheduled.num_tokens for scheduled in step),
            tokens_per_second=before + SMOOTHING * (now - before) if before else now,
        )

    def idle(self) -> None:
        """Notes that there is nothing to do."""
        self.reading = Reading()
