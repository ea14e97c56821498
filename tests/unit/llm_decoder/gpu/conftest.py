"""The kernels in Triton-lang's interpreter."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from llm_decoder.gpu.ops import Ops

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def triton_ops() -> Ops:
    """The kernels, interpreted on the CPU (tests/conftest.py): their arithmetic is tested, not their compilation."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("the package triton is not installed")
    if os.environ["TRITON_INTERPRET"] != "1":
        pytest.skip("kernels are not interpreted")
    from llm_decoder.gpu.triton_ops import TritonOps

    return TritonOps()
