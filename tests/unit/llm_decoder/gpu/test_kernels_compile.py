"""The kernels compile for real GPUs, without one: to tensor cores, copies ahead of use, and no spilled registers."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the package triton is not installed")
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100 and H200"])
def test_kernels_compile(capability, tmp_path):
    command = [sys.executable, "-m", "tests.unit.llm_decoder.gpu.compile_kernels", str(capability)]
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "TRITON_DEFAULT_FP_FUSION": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert len(kernels) == 9
    assert all(kernel["stack_bytes"] == 0 for kernel in kernels.values()), kernels
    for name in ("decode", "prompt", "decode int8", "prompt int8"):
        assert kernels[name]["mma"] > 0
        assert kernels[name]["cp.async"] > 0
    for name in ("add_norm", "rotate_and_store", "rotate_and_store int8", "gate"):
        assert kernels[name]["global.v4"] > 0, "sixteen bytes at a time"
