"""The engine's gauges on Triton's metrics page, once a second: a page is read more rarely than an engine steps.

Knows Triton's Python backend; knows nothing of how the figures come about.
"""

from __future__ import annotations

import threading
from typing import Any

from llm_decoder.gauges import Gauges, Reading

INTERVAL_S = 1.0

MEANINGS = {
    "num_running": "Sequences in progress.",
    "num_waiting": "Sequences that wait.",
    "kv_use": "Share of the cache's blocks that sequences hold, 0 to 1.",
    "batch_size": "Sequences in the last step.",
    "step_tokens": "Tokens computed in the last step.",
    "tokens_per_second": "Tokens sampled a second, a running mean over steps.",
}
"""Of each field of ``Reading``; its metric is called trichord_engine_<field>."""


class EngineMetrics:
    """Publishes until it is closed."""

    def __init__(self, pb_utils: Any, gauges: Gauges) -> None:
        self._gauges = gauges
        self._families = {
            name: pb_utils.MetricFamily(
                name=f"trichord_engine_{name}", description=meaning, kind=pb_utils.MetricFamily.GAUGE
            )
            for name, meaning in MEANINGS.items()
        }
        self._metrics = {name: family.Metric(labels={}) for name, family in self._families.items()}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        told = Reading()
        while not self._closing.wait(INTERVAL_S):
            reading = self._gauges.reading
            for name, value in reading._asdict().items():
                if value != getattr(told, name):
                    self._metrics[name].set(value)
            told = reading
