"""One sentence out of a log. The logs are what the real processes wrote."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.diagnosis import MAX_REASON_CHARS, reason

TRITON_START = """\
W1121 19:53:15.969473 5577 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"
I1121 19:53:15.969575 5577 cuda_memory_manager.cc:117] "CUDA memory pool disabled"
E1121 19:53:15.969682 5577 server.cc:241] "CudaDriverHelper has not been initialized."
I1121 19:53:15.971424 5577 model_lifecycle.cc:472] "loading: llama:1"
"""
ERROR = r"CheckpointError: Tensor llm.model.norm.weight is missing.\n\nAt:\n  model.py(4): initialize\n"
TRITON_MODEL = f"""{TRITON_START}\
E1121 19:53:16.326951 5577 backend_model.cc:692] "ERROR: Failed to create instance: {ERROR}"
E1121 19:53:16.327035 5577 model_lifecycle.cc:642] "failed to load 'llama' version 1: Internal: {ERROR}"
I1121 19:53:16.327051 5577 model_lifecycle.cc:777] "failed to load 'llama'"
error: creating server: Internal - failed to load all models"""
SOCKET = "failed to start GRPC service: Unavailable - Socket '127.0.0.1:9201' already in use"
TRITON_PORT = f"""{TRITON_START}E1121 19:53:16.327573 5577 main.cc:245] "{SOCKET} "\n"""
TRACEBACK = """\
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
ModuleNotFoundError: No module named 'gateway'
"""
SERVICE = """\
{"event": "listening", "port": 7401, "level": "info"}
cannot start: Checkpoint tensor llm.model.norm.weight is missing.
"""


@pytest.mark.parametrize(
    ("log", "status", "expected"),
    [
        pytest.param(SERVICE, 1, "Checkpoint tensor llm.model.norm.weight is missing", id="a service of ours"),
        pytest.param(TRITON_MODEL, 1, "Tensor llm.model.norm.weight is missing", id="a model in Triton"),
        pytest.param(TRITON_MODEL, -11, "Tensor llm.model.norm.weight is missing", id="and a crash at its exit"),
        pytest.param(TRITON_PORT, 1, SOCKET, id="Triton itself"),
        pytest.param(TRACEBACK, 1, "ModuleNotFoundError: No module named 'gateway'", id="a traceback"),
        pytest.param(
            TRITON_START, -signal.SIGKILL, "it was killed by signal 9 (Killed)", id="a signal, not the harmless error"
        ),
        pytest.param("starting\n\nhalf way\n  \n", 3, "half way", id="the last line of something unknown"),
        pytest.param("", 3, "it said nothing", id="nothing"),
        pytest.param("", -6, "it was killed by signal 6 (Aborted)", id="nothing but a signal"),
    ],
)
def test_the_reason_is_found(log: str, status: int, expected: str) -> None:
    assert reason(log, status) == expected


def test_the_last_death_counts() -> None:
    assert (
        reason(SERVICE + SERVICE.replace("norm", "other"), 1) == "Checkpoint tensor llm.model.other.weight is missing"
    )


@given(st.text(), st.integers(-31, 255) | st.none())
def test_any_log_gives_one_bounded_line(log: str, status: int | None) -> None:
    found = reason(log, status)
    assert found
    assert len(found) <= MAX_REASON_CHARS
    assert "\n" not in found
