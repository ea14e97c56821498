"""What one run of the engine's bench measured, and the ratios that it is held to.

Pure. A ratio is the median of each round's ratio: the two figures of a round were taken within a minute of each other.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bench import contestants as who
from bench.scores import Score
from bench.streams import Figures

Choice = Callable[[Figures], float]


def altogether(figures: Figures) -> float:
    """Tokens a second, prompts included."""
    return figures.tokens_per_s


def decoding(figures: Figures) -> float:
    """Tokens a second while all streams decode."""
    return figures.decode_tokens_per_s


COMPARISONS = (
    ("engine_over_transformers", who.ENGINE, who.TRANSFORMERS, decoding),
    ("engine_over_vllm", who.ENGINE, who.VLLM, decoding),
    ("engine_over_llama_cpp", who.ENGINE, who.LLAMA, decoding),
    ("int8_over_llama_cpp_q8", who.ENGINE_INT8, who.LLAMA_Q8, decoding),
    ("triton_over_engine", who.TRITON, who.ENGINE, altogether),
    ("triton_over_engine_decoding", who.TRITON, who.ENGINE, decoding),
)
"""Name of the ratio, whose figure, over whose, and which."""
FLOORS = {who.ENGINE: "bf16", who.ENGINE_INT8: "int8"}
"""The way to compute the linear layers that a decode step is held to."""


Floor = Mapping[str, float]
"""Seconds that the linear layers of a step take, by the way they are computed."""


def between(before: Floor, after: Floor) -> Floor:
    """The floor beside a run, of those before and after it."""
    return {way: (before[way] + after[way]) / 2 for way in before}


class LongPrompt(NamedTuple):
    """The 99th percentile of the other streams' waits between tokens, in milliseconds."""

    without_ms: float
    with_ms: float


@dataclass
class Results:
    """Lists have one entry for each round."""

    versions: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Who did not take part, or not to the end, and why."""
    runs: dict[tuple[str, int], list[Figures]] = field(default_factory=lambda: defaultdict(list))
    """By name and concurrency."""
    floors: dict[tuple[str, int], list[Floor]] = field(default_factory=lambda: defaultdict(list))
    """Beside each of the runs: memory that others use too is not equally fast from one minute to the next."""
    long_prompts: dict[str, list[LongPrompt]] = field(default_factory=lambda: defaultdict(list))
    scores: dict[str, Score] = field(default_factory=dict)

    def skip(self, name: str, reason: str) -> None:
        """Forgets somebody's runs, and keeps why."""
        self.skipped[name] = reason
        for key in [key for key in self.runs if key[0] == name]:
            del self.runs[key], self.floors[key]

    @property
    def concurrencies(self) -> list[int]:
        """Those that were measured, in that order."""
        return list(dict.fromkeys(concurrency for _, concurrency in self.runs))

    def floors_at(self, concurrency: int) -> list[Floor]:
        """All floors that were taken at so many."""
        return [floor for (_, of), floors in self.floors.items() if of == concurrency for floor in floors]

    def of_floor(self, name: str, concurrency: int, way: str) -> float:
        """The decoding rate as a share of what the linear layers alone allow."""
        pairs = zip(self.runs[name, concurrency], self.floors[name, concurrency], strict=True)
        return statistics.median(run.decode_tokens_per_s * floor[way] / concurrency for run, floor in pairs)

    def over(self, name: str, other: str, concurrency: int, figure: Choice) -> float:
        """One's figure over another's."""
        pairs = zip(self.runs[name, concurrency], self.runs[other, concurrency], strict=True)
        return statistics.median(figure(run) / figure(theirs) for run, theirs in pairs)

    def ratios(self) -> dict[str, float]:
        """Every ratio that there are figures for."""
        return {name: round(ratio, 3) for name, ratio in self._ratios() if not math.isnan(ratio)}

    def _ratios(self) -> Iterator[tuple[str, float]]:
        for concurrency in self.concurrencies:
            for name, way in FLOORS.items():
                if (name, concurrency) in self.runs and way in self.floors[name, concurrency][0]:
                    label = name.replace(" ", "_")
                    yield f"{label}_of_floor_c{concurrency}", self.of_floor(name, concurrency, way)
            for label, name, other, figure in COMPARISONS:
                if {(name, concurrency), (other, concurrency)} <= self.runs.keys():
                    yield f"{label}_c{concurrency}", self.over(name, other, concurrency, figure)
        for name, pairs in self.long_prompts.items():
            ratio = statistics.median(pair.with_ms / pair.without_ms for pair in pairs)
            yield f"{name.replace(' ', '_')}_gap_p99_under_a_long_prompt", ratio
        yield from self._quality()

    def _quality(self) -> Iterator[tuple[str, float]]:
        reference = self.scores.get(who.REFERENCE)
        for label, name in (("int8", who.ENGINE_INT8), ("int8_cache", who.INT8_CACHE)):
            if reference and name in self.scores:
                yield f"{label}_greedy_agreement", self.scores[name].agreement(reference)
                yield f"{label}_perplexity", self.scores[name].perplexity / reference.perplexity
