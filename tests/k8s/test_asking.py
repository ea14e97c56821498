"""The scripts of ``helm test`` get an answer where there is one, and fail where there is none."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.conftest import LocalCluster
from tests.k8s.charts import CHART

HTTP_PORT_OFFSET = 4


def ask(script: str, address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHART / "files" / script), address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_running_cluster_answers(tiny_cluster: LocalCluster) -> None:
    asked = ask("ask_grpc.py", tiny_cluster.gateway)
    assert asked.returncode == 0, asked.stderr
    asked = ask("ask_http.py", f"http://127.0.0.1:{tiny_cluster.port + HTTP_PORT_OFFSET}")
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.strip().endswith("data: [DONE]")


@pytest.mark.parametrize(("script", "address"), [("ask_grpc.py", "{}"), ("ask_http.py", "http://{}")])
def test_no_cluster_is_a_failure(script: str, address: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        assert ask(script, address.format(f"127.0.0.1:{nobody.getsockname()[1]}")).returncode != 0
