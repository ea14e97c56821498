"""Fixtures for every test: checkpoints, and clusters of real processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Two cores are shared by the tests, three Tritons and the fronts: oversubscribed threads run at a tenth of the speed.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when a kernel is defined, which other tests may cause first

import hypothesis
import pytest
import structlog

from tests.spans_lab import RecordedSpans
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.pull import pull
from trichord.telemetry.metrics_port import metrics_port

# A loaded machine is slow: time is never what a test is about.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# structlog's own default draws every local variable of every frame of an error, which takes seconds each.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

PORTS_OF_A_CLUSTER = 24
PORTS = range(10_000, 32_000)
"""For clusters: none that the kernel gives away (from 32768), as it could between a look and its use."""

_begin = os.getpid() * 7919 % len(PORTS)  # processes look in different places
_looked_at: Iterator[int] = itertools.cycle([*PORTS[_begin:], *PORTS[:_begin]])


@dataclass(frozen=True)
class LocalCluster:
    """A cluster of real processes that some test talks to."""

    name: str
    port: int
    checkpoint: Path

    @property
    def gateway(self) -> str:
        """gRPC target of the gateway."""
        return f"127.0.0.1:{self.port}"

    def processes(self) -> dict[str, dict[str, object]]:
        """What ``trichord status`` tells of each process."""
        status = json.loads(trichord("status", "--name", self.name, "--json").stdout)
        return {process["name"]: process for process in status["processes"]}

    def target(self, process: str) -> str:
        """gRPC target of one process."""
        return f"127.0.0.1:{self.processes()[process]['port']}"


def trichord(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs the command as a person would."""
    command = [Path(sys.executable).parent / "trichord", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@contextlib.contextmanager
def running_cluster(name: str, preset: str, dtype: str) -> Iterator[LocalCluster]:
    """Starts a cluster, and stops it."""
    checkpoint, port = pull(preset, PRESETS[preset]), free_ports()
    try:
        trichord("up", "--name", name, "--preset", preset, "--dtype", dtype, "--port", str(port))
        yield LocalCluster(name, port, checkpoint)
    finally:
        trichord("down", "--name", name)


def free_ports(count: int = PORTS_OF_A_CLUSTER) -> int:
    """The first of so many, all free now, none told before."""
    for first in itertools.islice(_looked_at, len(PORTS)):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            for _ in range(count - 1):
                next(_looked_at)
            return first
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def tiny_cluster() -> Iterator[LocalCluster]:
    """The whole cluster in float32 on random weights."""
    with running_cluster("test-tiny", "tiny", "float32") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def demo() -> Path:
    """The pulled preset demo, which people get; pulled now if it is not there."""
    return pull("demo", PRESETS["demo"])


@pytest.fixture(scope="session")
def smol() -> Path:
    """The pulled preset smol, which training starts from; pulled now if it is not there."""
    return pull("smol", PRESETS["smol"])


@pytest.fixture(scope="session")
def page_url() -> Iterator[str]:
    """The page of this process's metrics, one for all tests: its server takes half a second to stop."""
    with metrics_port("127.0.0.1:0") as port:
        yield f"http://127.0.0.1:{port}/metrics"


@pytest.fixture(scope="session", autouse=True)
def _spans_of_this_process() -> RecordedSpans:
    """Before any test: a process has one provider, the first."""
    return RecordedSpans()


@pytest.fixture
def recorded_spans(_spans_of_this_process: RecordedSpans) -> Iterator[RecordedSpans]:
    """Every span that this process ends during the test."""
    _spans_of_this_process.clear()
    _spans_of_this_process.switch.is_on = True
    yield _spans_of_this_process
    _spans_of_this_process.switch.is_on = False
