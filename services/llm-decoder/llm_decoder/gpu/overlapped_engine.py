"""The engine's loop with one step always ahead of the host: while the device computes, the next step is scheduled.

A step is launched before the tokens of the one before have been read. Their sequences go on with a token that only the
device knows (``Request.num_unseen_tokens``); when it is read and ends its sequence, what the step ahead computed for it
is dropped. Blocks can be given back at once, because the device does one step after the other. Everything a sequence
can observe but time is as in ``Engine``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from llm_decoder.engine import Engine
from llm_decoder.gpu.device_sampler import DeviceSampler, Drawn
from llm_decoder.gpu.gpu_runner import GpuRunner, Unseen
from llm_decoder.request import Request
from llm_decoder.scheduler import Scheduled, Scheduler
from llm_decoder.trail import note_step
from llm_decoder.transfer import on_device
from trichord.errors import InternalError

log = logging.getLogger(__name__)


class Flight(NamedTuple):
    """A step that was launched and not read."""

    step: Sequence[Scheduled]
    starts: Sequence[int]
    """Each sequence's first position in it."""
    going_on: Sequence[Request]
    drawn: Drawn
    launched_s: float

    @property
    def unseen(self) -> Unseen:
        """Its tokens, for the step behind it."""
        return Unseen({request: row for row, request in enumerate(self.going_on)}, self.drawn.tokens_B)


class OverlappedEngine(Engine):
    """Runs sequences on one model on a device; see ``Engine``."""

    def __init__(self, runner: GpuRunner, scheduler: Scheduler, sampler: DeviceSampler) -> None:
        # Before the engine's own: that starts the thread.
        self._gpu_runner, self._device_sampler = runner, sampler
        self._flight: Flight | None = None
        self._landed_s = 0.0
        super().__init__(runner, scheduler)

    def _run(self) -> None:
        with on_device(self._gpu_runner.device):
            super()._run()

    def _step(self, step: list[Scheduled]) -> None:
        step.sort(key=lambda scheduled: scheduled.num_tokens > 1)
        try:
            flight = self._launch(step)
        except Exception:  # whatever it was, only the sequences of this step may suffer
            log.exception("a step failed")
            flight = None
            self._fail_all(step)
        self._land()
        self._flight = flight
        if flight and any(request.allowed_tokens is not None for request in flight.going_on):
            self._land()  # what may come next depends on what was said

    def _rest(self) -> None:
        if self._flight:
            self._land()
        else:
            super()._rest()

    def _launch(self, step: list[Scheduled]) -> Flight:
        going_on = [scheduled.request for scheduled in step if scheduled.yields_token]
        launched_s = time.monotonic()
        logits_BV = self._gpu_runner.step(step, self._flight.unseen if self._flight else None)
        drawn = self._device_sampler.sample(logits_BV, going_on)
        starts = [request.num_computed_tokens for request, _ in step]
        for request, num_tokens in step:
            request.num_computed_tokens += num_tokens
        for request in going_on:
            request.num_unseen_tokens += 1
        return Flight(step, starts, going_on, drawn, launched_s)

    def _land(self) -> None:
        """Reads the step in flight, and delivers."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        try:
            sampled = flight.drawn.wait()
        except Exception:  # the device says only now that it failed
            log.exception("a step failed")
            self._fail_all(flight.step)
            return
        now_s = time.monotonic()
        for (request, num_tokens), start in zip(flight.step, flight.starts, strict=True):
            if request.block_table:  # else it is over or was preempted
                self.scheduler.publish(request, start, start + num_tokens)
        for request in flight.going_on:
            request.num_unseen_tokens -= 1
        began_s = max(flight.launched_s, self._landed_s)
        note_step(flight.step, began_s, now_s)
        self.gauges.step(self.scheduler, flight.step, num_sampled=len(sampled), seconds=now_s - began_s)
        self._landed_s = now_s
        alive = [pair for pair in zip(flight.going_on, sampled, strict=True) if not pair[0].is_over]
        self._deliver([request for request, _ in alive], [drawn for _, drawn in alive], now_s)

    def _fail_all(self, step: Sequence[Scheduled]) -> None:
        for request, _ in step:
            if not request.is_over:
                self._fail(request, InternalError("The model failed on this request."))
