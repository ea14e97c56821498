"""The engine's figures on Triton's metrics page, once a second: a page is read more rarely than an engine steps.

Knows Triton's Python backend; knows nothing of how the figures come about.
"""

from __future__ import annotations

import threading
from typing import Any

from llm_decoder.gauges import Gauges, Reading, Totals

INTERVAL_S = 1.0

GAUGES = {
    "num_running": "Sequences in progress.",
    "num_waiting": "Sequences that wait.",
    "num_resting": "Sequences in progress that rest, because their readers are behind with what is undelivered.",
    "kv_use": "Share of the cache's blocks that sequences hold, 0 to 1.",
    "batch_size": "Sequences in the last step.",
    "step_tokens": "Tokens computed in the last step.",
    "tokens_per_second": "Tokens sampled a second, a running mean over steps.",
}
"""Of each field of ``Reading``; its metric is called trichord_engine_<field>."""
COUNTERS = {
    "steps": "Steps, each a pass over the sequences of a batch.",
    "step_seconds": "Seconds that steps took, all together.",
    "prompt_tokens": "Tokens of prompts computed, again after a preemption too; one left alone counts as an answer's.",
    "cached_tokens": "Tokens of prompts whose keys and values were found in the cache.",
    "output_tokens": "Tokens sampled.",
    "preemptions": "Times that a sequence gave its place up to another.",
}
"""Of each field of ``Totals``; its metric is called trichord_engine_<field>_total."""


class EngineMetrics:
    """Publishes until it is closed."""

    def __init__(self, pb_utils: Any, gauges: Gauges) -> None:
        self._gauges, kinds = gauges, pb_utils.MetricFamily
        self._families = {
            **{field: _family(kinds, field, meaning, kinds.GAUGE) for field, meaning in GAUGES.items()},
            **{field: _family(kinds, f"{field}_total", meaning, kinds.COUNTER) for field, meaning in COUNTERS.items()},
        }
        self._metrics = {field: family.Metric(labels={}) for field, family in self._families.items()}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        reading, totals = Reading(), Totals()
        while not self._closing.wait(INTERVAL_S):
            before, reading = reading, self._gauges.reading
            for field, value in _changes(reading, before).items():
                self._metrics[field].set(value)
            past, totals = totals, self._gauges.totals
            for field, value in _changes(totals, past).items():
                self._metrics[field].increment(value - getattr(past, field))


def _family(kinds: Any, name: str, meaning: str, kind: Any) -> Any:
    return kinds(name=f"trichord_engine_{name}", description=meaning, kind=kind)


def _changes(now: Reading | Totals, before: Reading | Totals) -> dict[str, float]:
    """The fields that changed: telling Triton of one is a round trip between processes."""
    return {field: value for field, value in now._asdict().items() if value != getattr(before, field)}
