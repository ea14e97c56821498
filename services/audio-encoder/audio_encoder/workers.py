"""Threads that decode: as many sounds at once as there are workers, the rest wait.

A pool of its own, so that the bound holds even for callers that left: their thread is busy until its work is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from trichord.v1 import tensor_pb2

Result = TypeVar("Result")


class Workers:
    """A bounded pool."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="decode")

    async def run(self, work: Callable[[], Result], timings: tensor_pb2.EncodeTimings) -> Result:
        """Runs ``work`` in a thread; adds the wait for one to ``queue_ms`` and the rest to ``decode_ms``."""
        asked_s = time.perf_counter()

        def timed() -> tuple[Result, float]:
            began_s = time.perf_counter()
            return work(), began_s

        result, began_s = await asyncio.get_running_loop().run_in_executor(self._pool, timed)
        timings.queue_ms += (began_s - asked_s) * 1e3
        timings.decode_ms += (time.perf_counter() - began_s) * 1e3
        return result

    def close(self) -> None:
        """Drops what waits; does not wait for what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
