"""Work that is recorded once and replayed: CUDA graphs, or on the CPU the work itself.

A recording is of fixed shapes, so there are recordings of few sizes, and work is padded to them. Knows callables; knows
nothing of models.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

Work = Callable[[], None]
"""Reads and writes tensors whose places never change, and waits for nothing."""

WARM_UP_RUNS = 3
"""Runs before a capture: libraries allocate and kernels are compiled in the first."""


class Capture(Protocol):
    """A way to record."""

    def __call__(self, work: Work) -> Work:
        """What does the same as ``work``, faster."""


def run_again(work: Work) -> Work:
    """Records nothing: the replay is the work."""
    return work


class CudaCapture:
    """CUDA graphs on one device that share one pool of memory: no two of them run at once."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._pool = device, torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """See ``Capture``."""
        with torch.cuda.device(self._device):
            return self._recorded(work)

    def _recorded(self, work: Work) -> Work:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads (an encoder beside the decoder) may allocate meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            work()
        replay: Work = graph.replay
        return replay


def capture_for(device: torch.device) -> Capture:
    """How work on that device is recorded."""
    return CudaCapture(device) if device.type == "cuda" else run_again


def at_least(value: int, sizes: Sequence[int]) -> int:
    """The smallest of ascending sizes that is not below ``value``, which is not above the largest."""
    return sizes[bisect_left(sizes, value)]
