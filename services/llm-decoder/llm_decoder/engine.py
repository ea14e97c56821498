"""The engine: a thread that schedules, runs, samples and delivers until it is closed.

Requests join and leave between steps. Knows token ids only; knows nothing of text, of gRPC or of Triton.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence

from llm_decoder.model_runner import ModelRunner
from llm_decoder.request import Request
from llm_decoder.sampler import Sampler
from llm_decoder.scheduler import Scheduled, Scheduler
from trichord.errors import OverloadedError

log = logging.getLogger(__name__)


class Engine:
    """Runs sequences on one model. ``submit`` may be called from any thread."""

    def __init__(self, runner: ModelRunner, scheduler: Scheduler) -> None:
        self.runner, self.scheduler, self.sampler = runner, scheduler, Sampler()
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
            self._drop_cancelled()
            if step := self.scheduler.schedule(time.monotonic()):
                self._step(step)
        for request in list(self.scheduler.sequences()):
            self._fail(request, "The model server is stopping. Try again.")

    def _take_arrivals(self) -> bool:
        """Takes what has arrived, waiting if there is nothing else to do; False when the engine is to close."""
        idle = not self.scheduler.has_work
        if idle:
            self.scheduler.check_integrity()
        while idle or not self._arrivals.empty():
            request = self._arrivals.get()
            if request is None:
                return False
            self._add(request)
            idle = False
        return True

    def _add(self, request: Request) -> None:
        try:
            request.check(self.runner.model.config)
            self.scheduler.add(request)
        except (OverloadedError, ValueError) as error:
            request.sink.fail(str(error))

    def _drop_cancelled(self) -> None:
        for request in [r for r in self.scheduler.sequences() if r.sink.is_cancelled()]:
            self._fail(request, "The request was cancelled.")

    def _step(self, step: Sequence[Scheduled]) -> None:
        step = sorted(step, key=lambda scheduled: scheduled.num_tokens > 1)
        going_on = [scheduled.request for scheduled in step if scheduled.yields_token]
        try:
            logits_BV = self.runner.step(step)
            token_ids = self.sampler.sample(logits_BV, going_on)
        except Exception:  # whatever it was, only the sequences of this step may suffer
            log.exception("a step failed")
            for scheduled in step:
                self._fail(scheduled.request, "The model failed on this request.")
            return
        now_s = time.monotonic()
        for request, token_id in zip(going_on, token_ids, strict=True):
            self._deliver(request, token_id, now_s)

    def _deliver(self, request: Request, token_id: int, now_s: float) -> None:
        reason = request.append(token_id, now_s)
        if reason is None:
            request.sink.emit([token_id])
            return
        self.scheduler.remove(request)
        request.sink.finish([token_id], reason, request.timings(now_s))

    def _fail(self, request: Request, message: str) -> None:
        self.scheduler.remove(request)
        request.sink.fail(message)
