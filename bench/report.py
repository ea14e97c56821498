"""The engine bench's results as a section of a page, in Markdown. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from bench import contestants as who
from bench.results import Results
from bench.scores import Score
from bench.streams import Figures

FLOORS = {
    "torch": "*linear layers alone, torch bf16*",
    "bf16": "*linear layers alone, ours bf16*",
    "int8": "*linear layers alone, ours int8*",
}
HEADERS = (
    "{} at once",
    "tokens/s",
    "decoding tokens/s",
    "% of the floor",
    "first token ms",
    "gap p50 ms",
    "gap p99 ms",
)


def section(results: Results, machine: str, plan: str) -> str:
    """Everything that was measured. ``machine`` and ``plan`` say on what and how."""
    return "\n".join(_lines(results, machine, plan))


def _lines(results: Results, machine: str, plan: str) -> Iterator[str]:
    yield "## The decode engine on a CPU"
    yield f"\n{machine}. {plan} Versions: {', '.join(sorted(set(results.versions.values())))}."
    yield "What each figure means: [bench/README.md](../bench/README.md)."
    for concurrency in results.concurrencies:
        yield ""
        yield from _table(HEADERS[0].format(concurrency), HEADERS[1:], _rows(results, concurrency))
    if results.long_prompts:
        yield "\nWaits between tokens (p99, ms) of eight streams, without and with a prompt of 2 000 tokens arriving:\n"
        yield from _table("", ("without", "with", "ratio"), _long_prompts(results))
    if who.REFERENCE in results.scores:
        yield "\nQuality on a fixed text by weights and cache, against our engine in float32:\n"
        yield from _table("", ("perplexity", "change", "same greedy token"), _quality(results))
    for name, reason in results.skipped.items():
        yield f"\nNot taken part: {name} ({reason})."


def _table(corner: str, headers: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join((corner, *headers))} |"
    yield "|---" + "|---:" * len(headers) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _rows(results: Results, concurrency: int) -> Iterator[Sequence[str]]:
    floors = results.floors_at(concurrency)
    for way in floors[0]:
        rate = concurrency / statistics.median(floor[way] for floor in floors)
        yield FLOORS[way], "", _number(rate), "", "", "", ""
    for name, of in results.runs:
        if of == concurrency:
            figures = Figures.medians(results.runs[name, of])
            way = "int8" if name in (who.ENGINE_INT8, who.LLAMA_Q8) else "bf16"
            share = _number(100 * results.of_floor(name, of, way)) if way in floors[0] else ""
            speed, decode_speed, *waits = map(_number, figures)
            yield name, speed, decode_speed, share, *waits


def _long_prompts(results: Results) -> Iterator[Sequence[str]]:
    for name, pairs in results.long_prompts.items():
        without, with_it = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(pair.with_ms / pair.without_ms for pair in pairs)
        yield name, _number(without), _number(with_it), f"{ratio:.2f}"


def _quality(results: Results) -> Iterator[Sequence[str]]:
    reference = results.scores[who.REFERENCE]
    for name, score in results.scores.items():
        yield name, f"{score.perplexity:.3f}", *_against(reference, score)


def _against(reference: Score, score: Score) -> tuple[str, str]:
    return f"{score.perplexity / reference.perplexity - 1:+.2%}", f"{score.agreement(reference):.1%}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
