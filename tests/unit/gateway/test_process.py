"""``python -m gateway`` as a process: what it says when it cannot start, how it serves and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from types import MappingProxyType

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.unit.gateway.fakes import STARTED, Events, FakeDecoder, chunk, forever, hello, serving
from tests.unit.gateway.lab import WARNINGS, chat_request, kinds, refused, text
from trichord import server
from trichord.errors import UnavailableError
from trichord.status import from_rpc_error
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc, jobs_pb2, jobs_pb2_grpc

Start = Callable[..., Coroutine[None, None, Process]]

SOON_S = 30


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts gateways with settings by name; none outlives the test."""
    processes: list[Process] = []

    async def launch(others: Mapping[str, str] = MappingProxyType({}), **settings: str) -> Process:
        variables = {f"TRICHORD_GATEWAY_{name.upper()}": value for name, value in settings.items()}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRICHORD_")}
        variables["TRICHORD_HTTP_LISTEN"] = "127.0.0.1:0"
        command = (sys.executable, *WARNINGS, "-m", "gateway")
        process = await asyncio.create_subprocess_exec(
            *command, env=environment | variables | others, stdout=PIPE, stderr=PIPE
        )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def port_of(process: Process) -> int:
    """Where a gateway serves, from its log."""
    assert process.stderr is not None
    async with asyncio.timeout(SOON_S):
        async for line in process.stderr:
            if b'"listening"' in line and b'"http"' not in line:
                return int(json.loads(line)["port"])
    raise AssertionError("The gateway ended without listening.")


async def ended(process: Process) -> tuple[int | None, str, str]:
    out, err = await asyncio.wait_for(process.communicate(), SOON_S)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def decoder() -> AsyncIterator[FakeDecoder]:
    fake = FakeDecoder()
    running = await serving(fake)
    fake.target = f"127.0.0.1:{running.port}"
    yield fake
    await running.server.stop(0)


ITEM = jobs_pb2.JobItem(custom_id="a", request=chat_request(text()))
NOWHERE = "redis://127.0.0.1:1"
TARGETS = dict.fromkeys(("vision", "audio", "decoder"), "127.0.0.1:1") | {"cache_url": NOWHERE, "state_url": NOWHERE}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "TRICHORD_GATEWAY_VISION is not set"),
        (TARGETS | {"max_parts": "many"}, "TRICHORD_GATEWAY_MAX_PARTS='many'"),
        (TARGETS | {"max_partz": "1"}, "TRICHORD_GATEWAY_MAX_PARTZ is not a setting"),
        (TARGETS | {"listen": "192.0.2.1:1"}, "192.0.2.1:1"),
    ],
)
async def test_a_gateway_that_cannot_start_says_why_in_one_sentence(
    start: Start, settings: dict[str, str], said: str
) -> None:
    code, out, err = await ended(await start(**settings))
    assert code == 1
    assert said in err
    assert "Traceback" not in err
    assert out == ""


async def test_a_gateway_is_healthy_whatever_is_behind_it(start: Start) -> None:
    process = await start(**TARGETS)
    async with server.open_channel(f"127.0.0.1:{await port_of(process)}", 1 << 20) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=SOON_S)
        async for response in watch:
            if response.status == health_pb2.HealthCheckResponse.SERVING:
                break
        with refused() as refusal:
            await gateway_pb2_grpc.OmniServiceStub(channel).GetModel(gateway_pb2.OmniServiceGetModelRequest())
    assert isinstance(refusal.error, UnavailableError)
    process.terminate()
    code, out, _ = await ended(process)
    assert (code, out) == (0, "")


async def test_a_call_in_progress_outlives_the_first_signal(start: Start, decoder: FakeDecoder) -> None:
    may_go_on = asyncio.Event()

    async def pausing(request: decoder_pb2.GenerateRequest) -> Events:
        async for event in hello(request):
            yield event
            if event.HasField("chunk"):
                await may_go_on.wait()

    decoder.answer = pausing
    process = await start(**TARGETS | {"decoder": decoder.target, "drain_timeout_s": "60"})
    async with server.open_channel(f"127.0.0.1:{await port_of(process)}", 1 << 20) as channel:
        call = gateway_pb2_grpc.OmniServiceStub(channel).Chat(chat_request(text()), timeout=SOON_S)
        assert kinds([await call.read(), await call.read()]) == ["started", "token"]
        process.send_signal(signal.SIGTERM)
        await draining(process)
        may_go_on.set()
        assert kinds([await call.read(), await call.read()]) == ["token", "finished"]
        assert await call.read() is grpc.aio.EOF
    assert (await ended(process))[0] == 0


async def test_jobs_are_taken_while_the_queue_is_away_and_watchers_hold_up_no_end(start: Start, tmp_path: Path) -> None:
    jobs = {
        "TRICHORD_JOBS_STORE": str(tmp_path / "store"),
        "TRICHORD_JOBS_KAFKA": "127.0.0.1:1",
        "TRICHORD_USAGE_SPOOL": str(tmp_path / "spool"),
    }
    process = await start(jobs, **TARGETS | {"drain_timeout_s": "3000"})
    async with server.open_channel(f"127.0.0.1:{await port_of(process)}", 1 << 20) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        parts = [jobs_pb2.SubmitJobRequest(spec=jobs_pb2.JobSpec()), jobs_pb2.SubmitJobRequest(items={"items": [ITEM]})]
        job = (await stub.SubmitJob(iter(parts), timeout=SOON_S)).job
        watch = stub.WatchJob(jobs_pb2.WatchJobRequest(id=job.id), timeout=3000)
        assert await watch.read() == jobs_pb2.WatchJobResponse(job=job)
        process.terminate()
        with pytest.raises(grpc.aio.AioRpcError) as left:
            await watch.read()
        assert isinstance(from_rpc_error(left.value, "gateway"), UnavailableError)
    code, out, _ = await ended(process)
    assert (code, out) == (0, "")


async def draining(process: Process) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        if b'"draining"' in line:
            return
    raise AssertionError("The gateway ended without draining.")


async def test_a_second_signal_stops_at_once(start: Start, decoder: FakeDecoder) -> None:
    async def stuck(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        await forever(b"")

    decoder.answer = stuck
    process = await start(**TARGETS | {"decoder": decoder.target, "drain_timeout_s": "3000"})
    async with server.open_channel(f"127.0.0.1:{await port_of(process)}", 1 << 20) as channel:
        call = gateway_pb2_grpc.OmniServiceStub(channel).Chat(chat_request(text()), timeout=3000)
        await call.read()
        await call.read()
        process.send_signal(signal.SIGTERM)
        await draining(process)
        process.send_signal(signal.SIGINT)
        assert (await ended(process))[0] == 0
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await call.read()
    assert cut.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    await asyncio.wait_for(decoder.calls.cancelled.wait(), SOON_S)
