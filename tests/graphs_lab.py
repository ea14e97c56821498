"""CUDA graphs played on a CPU: operations are written down once, and run again on the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trichord.cuda_graphs import Work

WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
MAKES_TENSORS_OF_PYTHON_VALUES = torch.ops.aten.lift_fresh.default


def tape(work: Work) -> Work:
    """A ``Capture``: a replay runs no Python of ``work``, so what depended on Python values keeps those of the capture.

    Like a graph it has one place for each result, and refuses what would wait for the device.
    """
    written = _Written()
    with written:
        work()

    def replay() -> None:
        for operation, results in written.steps:
            for place, value in zip(tree_leaves(results), tree_leaves(operation()), strict=True):
                if isinstance(place, Tensor) and _memory(place) != _memory(value):  # a view has no place of its own
                    place.copy_(value)

    return replay


class _Written(TorchDispatchMode):
    """The operations that run under it, with their results."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Callable[[], Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert not WAITS & set(func.tags), f"{func} waits for the device"
        assert func is not MAKES_TENSORS_OF_PYTHON_VALUES, "a tensor is made of values that will change"

        def operation() -> Any:
            return func(*args, **(kwargs or {}))

        results = operation()
        self.steps.append((operation, results))
        return results


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
