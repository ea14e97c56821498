"""How late an event loop is: what every request of the process waits for when something holds the loop up."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Histogram

INTERVAL_S = 0.1

LAG = Histogram(
    "trichord_event_loop_lag_seconds",
    "How much later than asked a timer of the event loop fired, ten times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)


async def measure() -> None:
    """Measures until cancelled."""
    while True:
        asked_s = time.perf_counter()
        await asyncio.sleep(INTERVAL_S)
        LAG.observe(max(0.0, time.perf_counter() - asked_s - INTERVAL_S))
