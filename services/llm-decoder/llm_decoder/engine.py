"""The engine: a thread that schedules, runs, samples and delivers until it is closed.

Requests join and leave between steps. Knows token ids only; knows nothing of text, of gRPC or of Triton.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from llm_decoder.gauges import Gauges
from llm_decoder.request import Request
from llm_decoder.sampler import Sampled, Sampler
from llm_decoder.scheduler import Scheduled, Scheduler
from llm_decoder.trail import note_step
from trichord.errors import DeadlineError, InternalError, TrichordError, UnavailableError
from trichord.model_config import LlmConfig

log = logging.getLogger(__name__)

REST_S = 0.002
"""How long the loop rests when every sequence waits for its reader."""


class Runner(Protocol):
    """What computes steps: ``model_runner.ModelRunner``, or ``simulated.SimulatedRunner`` in its place."""

    config: LlmConfig

    def step(self, step: Sequence[Scheduled]) -> Tensor:
        """Logits of the sequences that yield a token; see ``ModelRunner.step``."""


class Chooser(Protocol):
    """What chooses tokens: ``sampler.Sampler``, or ``simulated.SimulatedSampler`` in its place."""

    def sample(self, logits_BV: Tensor, requests: Sequence[Request]) -> list[Sampled]:
        """The next token of each sequence; see ``Sampler.sample``."""


class Engine:
    """Runs sequences on one model. ``submit`` may be called from any thread."""

    def __init__(self, runner: Runner, scheduler: Scheduler, sampler: Chooser | None = None) -> None:
        self.runner, self.scheduler, self.sampler, self.gauges = runner, scheduler, sampler or Sampler(), Gauges()
        self._arrivals: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Hands over a sequence; everything further reaches its sink."""
        self._arrivals.put(request)

    def close(self) -> None:
        """Ends the thread after the current step; sequences in progress fail."""
        self._arrivals.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._take_arrivals():
            now_s = time.monotonic()
            self._drop_unwanted(now_s)
            if step := self.scheduler.schedule(now_s):
                self._step(step)
            elif self.scheduler.has_work:
                self._rest()
        for request in list(self.scheduler.sequences()):
            self._fail(request, UnavailableError("The model server is stopping. Try again."))

    def _rest(self) -> None:
        """Nothing can be scheduled for now."""
        self.gauges.rest(self.scheduler)
        time.sleep(REST_S)

    def _take_arrivals(self) -> bool:
        """Takes what has arrived, waiting if there is nothing else to do; False when the engine is to close."""
        idle = not self.scheduler.has_work
        if idle:
            self.scheduler.check_integrity()
            self.gauges.idle()
        while idle or not self._arrivals.empty():
            request = self._arrivals.get()
            if request is None:
                return False
            self._add(request)
            idle = False
        return True

    def _add(self, request: Request) -> None:
        try:
            request.check(self.runner.config)
            self.scheduler.add(request)
        except TrichordError as error:
            request.is_over = True
            request.sink.fail(error)

    def _drop_unwanted(self, now_s: float) -> None:
        for request in list(self.scheduler.sequences()):
            if request.sink.is_cancelled():
                self._fail(request, UnavailableError("The request was cancelled."))
            elif now_s > request.deadline_s:
                self._fail(request, DeadlineError("The request's deadline passed. Allow a longer one."))

    def _step(self, step: list[Scheduled]) -> None:
        step.sort(key=lambda scheduled: scheduled.num_tokens > 1)
        going_on = [scheduled.request for scheduled in step if scheduled.yields_token]
        started_s = time.monotonic()
        try:
            logits_BV = self.runner.step(step)
            sampled = self.sampler.sample(logits_BV, going_on)
        except Exception:  # whatever it was, only the sequences of this step may suffer
            log.exception("a step failed")
            for scheduled in step:
                self._fail(scheduled.request, InternalError("The model failed on this request."))
            return
        now_s = time.monotonic()
        self.scheduler.computed(step)
        note_step(step, started_s, now_s)
        self.gauges.step(self.scheduler, step, num_sampled=len(going_on), seconds=now_s - started_s)
        self._deliver(going_on, sampled, now_s)

    def _deliver(self, requests: Sequence[Request], sampled: Sequence[Sampled], now_s: float) -> None:
        for request, (token_id, logprobs) in zip(requests, sampled, strict=True):
            if request.error:
                self._fail(request, request.error)
                continue
            reason = request.append(token_id, now_s)
            if len(request.output_ids) == 1:
                request.sink.start(request.timings())
            if reason is None:
                request.sink.emit([token_id], logprobs)
            else:
                self.scheduler.remove(request)
                request.sink.finish([token_id], logprobs, reason, request.timings())

    def _fail(self, request: Request, error: TrichordError) -> None:
        self.scheduler.remove(request)
        request.sink.fail(error)
