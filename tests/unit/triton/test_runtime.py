"""The embedded Triton: found, installed, started as its command says."""

import asyncio
import os
import stat
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.conftest import free_ports
from trichord.errors import ClusterError
from trichord.triton import runtime
from trichord.triton.client import TritonClient

READY_TIMEOUT_S = 200.0


def _command(triton: runtime.Triton, repository: Path) -> runtime.Command:
    return runtime.command(
        triton,
        repository,
        grpc_port=free_ports(1),
        metrics_port=free_ports(1),
        shm_prefix=f"trichord-test-{os.getpid()}-",
        threads=1,
        model_env={},
    )


def _option(command: runtime.Command, name: str) -> str:
    (value,) = [argument.partition("=")[2] for argument in command.argv if argument.startswith(f"--{name}")]
    return value


@pytest.fixture
def fake_server(tmp_path: Path) -> Path:
    """A directory laid out like NVIDIA's image."""
    binary = tmp_path / "server" / "bin" / "tritonserver"
    binary.parent.mkdir(parents=True)
    binary.touch(mode=stat.S_IRWXU)
    return binary.parent.parent


def test_the_variable_names_another_server(fake_server: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRICHORD_TRITON_DIR", str(fake_server))
    expected = runtime.Triton(fake_server / "bin" / "tritonserver", fake_server / "backends")
    assert runtime.install(tmp_path / "home") == expected
    assert not (tmp_path / "home").exists()


def test_a_variable_that_names_no_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_TRITON_DIR", str(tmp_path))
    with pytest.raises(ClusterError, match="TRICHORD_TRITON_DIR names a directory that has no bin/tritonserver"):
        runtime.find(tmp_path)


def test_nothing_is_found_in_an_empty_home(tmp_path: Path) -> None:
    assert runtime.find(tmp_path) is None


def test_install_is_done_once(triton: runtime.Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("pip was run again"))
    home = triton.binary.parents[5]
    assert runtime.install(home) == triton


def test_a_failing_pip_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(ClusterError, match=r"pip could not install nvidia-pytriton==0\.7\.0\. See install\.log"):
        runtime.install(tmp_path)
    assert [path.name for path in (tmp_path / "triton").iterdir()] == ["install.log"]


def test_another_platform_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(ClusterError, match=r"Linux x86-64 only\. Set TRICHORD_TRITON_DIR"):
        runtime.install(tmp_path)


def test_a_python_without_a_shared_library_is_refused(
    triton: runtime.Triton, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sysconfig.get_config_var", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Triton needs libpython3\.1\d\.so\.1\.0"):
        _command(triton, tmp_path)


def test_only_loopback_is_listened_on(triton: runtime.Triton, tmp_path: Path) -> None:
    command = _command(triton, tmp_path)
    assert _option(command, "grpc-address") == _option(command, "metrics-address") == "127.0.0.1"
    assert _option(command, "allow-http") == "false"


def test_the_closed_protocols_key_is_fresh_each_time(triton: runtime.Triton, tmp_path: Path) -> None:
    keys = {_option(_command(triton, tmp_path), "grpc-restricted-protocol") for _ in range(2)}
    assert len(keys) == 2


@pytest.fixture
async def server(triton: runtime.Triton, identity_repository: Path) -> AsyncIterator[runtime.Command]:
    """A running Triton with the identity model."""
    command = _command(triton, identity_repository)
    process = await asyncio.create_subprocess_exec(
        *command.argv, env={**os.environ, **command.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    client = TritonClient(f"127.0.0.1:{_option(command, 'grpc-port')}", 1 << 20)
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await client.model_ready("identity"):
                assert process.returncode is None, "Triton ended"
                await asyncio.sleep(0.1)
        yield command
    finally:
        await client.close()
        process.terminate()
        await process.wait()


async def _metrics_page(server: runtime.Command) -> str:
    url = f"http://127.0.0.1:{_option(server, 'metrics-port')}/metrics"
    return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())


async def test_a_model_runs_in_this_interpreters_environment(server: runtime.Command) -> None:
    """The identity model imports numpy through the backend's utilities: from this virtual environment or nowhere."""
    client = TritonClient(f"127.0.0.1:{_option(server, 'grpc-port')}", 1 << 20)
    values = np.arange(5, dtype=np.float32)
    outputs = await client.infer("identity", {"X": values}, timeout_s=10.0)
    await client.close()
    np.testing.assert_array_equal(outputs["Y"], values)

    counted = 'nv_inference_request_success{model="identity",version="1"} 1'
    async with asyncio.timeout(10):
        while counted not in await _metrics_page(server):  # noqa: ASYNC110  # it answers first, and counts then
            await asyncio.sleep(0.05)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{_option(server, 'grpc-port')}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match="restricted"):
            await stub.SystemSharedMemoryStatus(service_pb2.SystemSharedMemoryStatusRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="restricted"):
            await stub.RepositoryIndex(service_pb2.RepositoryIndexRequest())
