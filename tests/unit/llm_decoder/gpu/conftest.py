"""The kernels in Triton-lang's interpreter."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from llm_decoder.gpu.ops import Ops

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def triton_ops() -> Iterator[Ops]:
    """The kernels, interpreted on the CPU: their arithmetic is tested, not their speed nor their compilation."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("the package triton is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # read when a kernel is defined
        from llm_decoder.gpu.triton_ops import TritonOps

        yield TritonOps()
