"""Where an answer's time went.

What the front can see it measures itself, so that an answer cut short by a stop string has its times too.
"""

from __future__ import annotations

import time

from llm_decoder.engine_client import EngineOutput
from trichord.v1 import decoder_pb2


class Stopwatch:
    """Runs from the arrival of one request."""

    def __init__(self) -> None:
        self._arrived_s = time.perf_counter()
        self.timings = decoder_pb2.GenerateTimings()
        """So far."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self._arrived_s

    def tokenized(self) -> None:
        """The prompt is there."""
        self.timings.tokenize_ms = self.elapsed_s * 1e3

    def took(self, output: EngineOutput) -> None:
        """An output of the engine is there."""
        if output.token_ids:
            now_ms = self.elapsed_s * 1e3
            self.timings.first_token_ms = self.timings.first_token_ms or now_ms
            self.timings.decode_ms = now_ms - self.timings.first_token_ms
        if output.timings:
            self.timings.queue_ms = output.timings.queue_ms
            self.timings.prefill_ms = output.timings.prefill_ms
