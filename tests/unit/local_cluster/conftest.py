"""Real processes to supervise: a small gRPC service of ours, and the embedded Triton with trivial models."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from local_cluster.process import Process
from tests.conftest import free_ports
from trichord.home import home
from trichord.triton import runtime

FAKE_SERVICE = Path(__file__).parent / "fake_service.py"

MODEL_CONFIG = """
name: "counter"
backend: "python"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""

# Answers one number every tenth of a second, for longer than any test waits.
COUNTER_MODEL = """
import threading, time
import numpy, triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.count, args=(request.get_response_sender(),), daemon=True).start()

    def count(self, sender):
        for i in range(600):
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", numpy.array([i], numpy.float32))]))
            time.sleep(0.1)
"""

BROKEN_MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("checkpoint tensor llm.model.norm.weight is missing")
"""

ProcessFactory = Callable[..., Process]


@pytest.fixture
def fake() -> ProcessFactory:
    """Makes the description of a fake service in one of its modes."""

    def make(mode: str, *arguments: str, name: str = "", tier: int = 0, **fields: float) -> Process:
        port = free_ports(1)
        return Process(
            name=name or mode,
            title=name or mode,
            argv=(sys.executable, str(FAKE_SERVICE), mode, *arguments),
            env={"TRICHORD_FAKE_LISTEN": f"127.0.0.1:{port}"},
            port=port,
            readiness="health",
            tier=tier,
            **{"stop_timeout_s": 2.5, "start_timeout_s": 60.0, **fields},
        )

    return make


@pytest.fixture
def triton_process(tmp_path: Path) -> ProcessFactory:
    """Makes the description of a Triton that serves one decoupled model."""

    def make(*, broken: bool = False) -> Process:
        folder = tmp_path / "repository" / "counter"
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(MODEL_CONFIG)
        (folder / "1" / "model.py").write_text(BROKEN_MODEL if broken else COUNTER_MODEL)
        prefix = f"trichord-test-{os.getpid()}-{time.monotonic_ns()}-"
        port = free_ports(1)
        command = runtime.command(
            runtime.install(home()),
            folder.parent,
            grpc_port=port,
            metrics_port=free_ports(1),
            shm_prefix=prefix,
            threads=1,
            model_env={},
        )
        return Process(
            name="llm-decoder-triton",
            title="llm-decoder's Triton",
            argv=command.argv,
            env=command.env,
            port=port,
            readiness="triton",
            tier=0,
            stop_timeout_s=4.0,
            shm_prefix=prefix,
            start_timeout_s=60.0,
        )

    return make


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder
