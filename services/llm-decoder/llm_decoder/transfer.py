"""Tensors between host and device without anyone waiting: up through pinned memory, back by a copy and an event.

On the CPU both are nothing. Knows no models and no requests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on ``device``; to a GPU the copy takes its place in the current stream."""
    if tensor.is_cuda or torch.device(device).type != "cuda":
        return tensor.to(device)
    # From pageable memory the copy would wait for all that the stream has to do before it.
    return tensor.pin_memory().to(device, non_blocking=True)


def on_device(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Makes ``device`` the one whose streams and events this thread means; threads begin with the first GPU."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


class Readback:
    """Tensors on their way to the host."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._copies, self._event = list(tensors), None
        if any(tensor.is_cuda for tensor in tensors):
            self._copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in tensors]
            for copy, tensor in zip(self._copies, tensors, strict=True):
                copy.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def wait(self) -> list[Tensor]:
        """The tensors on the host, as they were when the copy began; waits for no later work of the device."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies
