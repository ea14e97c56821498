"""Where an answer's time went.

What the front can see it measures itself, so that an answer cut short by a stop string has its times too.
"""

from __future__ import annotations

import itertools
import time

from prometheus_client import Histogram

from llm_decoder.engine_client import EngineOutput
from trichord.v1 import decoder_pb2

INTER_TOKEN = Histogram(
    "trichord_generate_inter_token_seconds",
    "Seconds between two tokens of an answer at the decoder's front; of tokens that came together, their mean.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2.5),
)


class Stopwatch:
    """Runs from the arrival of one request; of several answers it follows the first."""

    def __init__(self) -> None:
        self._arrived_s = time.perf_counter()
        self._timings = decoder_pb2.GenerateTimings()
        self._token_times_ms: list[float] = []
        self._num_summed_up = 0
        self.num_cached_tokens = 0
        """Tokens of the prompt that the engine found in its cache."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.perf_counter() - self._arrived_s

    @property
    def timings(self) -> decoder_pb2.GenerateTimings:
        """So far."""
        if len(self._token_times_ms) != self._num_summed_up:
            self._sum_up(self._token_times_ms)
        return self._timings

    def _sum_up(self, times_ms: list[float]) -> None:
        """Tells what the tokens' times say; sorts them, so once is enough."""
        self._num_summed_up = len(times_ms)
        self._timings.first_token_ms = times_ms[0]
        self._timings.decode_ms = times_ms[-1] - times_ms[0]
        gaps_ms = sorted(after - before for before, after in itertools.pairwise(times_ms))
        if gaps_ms:
            self._timings.inter_token_p50_ms = gaps_ms[len(gaps_ms) // 2]
            self._timings.inter_token_p99_ms = gaps_ms[len(gaps_ms) * 99 // 100]

    def tokenized(self) -> None:
        """The prompt is there."""
        self._timings.tokenize_ms = self.elapsed_s * 1e3

    def took(self, output: EngineOutput) -> None:
        """An output of the engine is there."""
        if output.sample:
            return
        now_ms, num_tokens = self.elapsed_s * 1e3, len(output.token_ids)
        if self._token_times_ms and num_tokens:
            INTER_TOKEN.observe((now_ms - self._token_times_ms[-1]) / num_tokens / 1e3)
        self._token_times_ms += [now_ms] * num_tokens
        if output.timings:
            self._timings.queue_ms = output.timings.queue_ms
            self._timings.prefill_ms = output.timings.prefill_ms
            self._timings.preemptions = int(output.timings.num_preemptions)
            self.num_cached_tokens = int(output.timings.num_cached_tokens)
