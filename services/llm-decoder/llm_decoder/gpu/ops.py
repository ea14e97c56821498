"""The seam between the model and the device: what lies between its matrix products, in plain torch or as kernels.

Shapes: N tokens, D hidden, H query heads, K key/value heads, d head width, W = (H + 2 K) d, I width of the MLP,
C = d / 2.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple, Protocol

from torch import Tensor

from llm_decoder.gpu.plan import Plan
from llm_decoder.paged_rows import PagedRows
from trichord.model_config import LlmConfig


class RopeTable(NamedTuple):
    """Cosines and sines of every position, float32 [positions, C]."""

    cos_PC: Tensor
    sin_PC: Tensor


class Ops(Protocol):
    """One step's work between the matrix products. No call waits for the device, so that all can be captured."""

    def add_norm(self, x_ND: Tensor, residual_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        """Adds ``x_ND`` to ``residual_ND`` in place; its root-mean-square norm times the weight."""

    def rotate_and_store(
        self, qkv_NW: Tensor, rope: RopeTable, keys: PagedRows, values: PagedRows, plan: Plan
    ) -> Tensor:
        """Turns queries and keys by their positions, writes keys and values to their slots; queries [N, H, d]."""

    def attend(self, q_NHd: Tensor, keys: PagedRows, values: PagedRows, plan: Plan) -> Tensor:
        """What each query reads of its sequence up to its own position, [N, H, d]."""

    def gate(self, gate_up_N2I: Tensor) -> Tensor:
        """silu(first half) * second half, [N, I]."""


def best_ops(config: LlmConfig, device_type: str) -> Ops:
    """Kernels where they run, else plain torch."""
    if device_type == "cuda" and importlib.util.find_spec("triton"):
        from llm_decoder.gpu.triton_ops import TritonOps

        if TritonOps.unsupported(config) is None:
            return TritonOps()
    from llm_decoder.gpu.torch_ops import TorchOps

    return TorchOps()
