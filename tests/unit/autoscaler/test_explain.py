"""What people are told: over HTTP, and by the command line, from a real process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import grpc
import httpx2
import pytest
from typer.testing import CliRunner

from autoscaler import explain
from autoscaler.actuator import Replicas
from autoscaler.decisions import Decisions, Record
from autoscaler.observation import Observation
from autoscaler.policy import Policy
from autoscaler.rules import DEFAULTS
from autoscaler.state import State
from tests.redis_lab import RedisServer
from trichord.demand import Demand, publish, wake
from trichord.keda import externalscaler_pb2 as pb
from trichord.keda import externalscaler_pb2_grpc as pb_grpc
from trichord.redis_link import RedisLink
from trichord_cli.main import app

runner = CliRunner()


@pytest.fixture
def decisions() -> Decisions:
    kept = Decisions()
    load = Demand(modality="vision", queued_cost=400, arrived_cost_per_s=20, queue_p95_ms=2500, at_s=10)
    records = {}
    for demand, replicas, ready in ((load, 2, 1), (None, 3, 3)):
        modality = demand.modality if demand else "decoder"
        decision = Policy(DEFAULTS[modality]).decide(Observation(demand, replicas, ready), State(), 10)
        records[modality] = Record(modality, time.time(), Replicas(replicas, ready), decision)
    kept.note(records)
    return kept


def command(*arguments: str) -> tuple[int, str]:
    result = runner.invoke(app, ["scaling", "explain", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.output


async def test_the_page_tells_numbers_and_the_sentence(decisions: Decisions) -> None:
    async with explain.serve(explain.page(decisions), "127.0.0.1:0") as port, httpx2.AsyncClient() as client:
        told = (await client.get(f"http://127.0.0.1:{port}/scaling")).json()
        one = (await client.get(f"http://127.0.0.1:{port}/scaling?modality=decoder")).json()
        wrong = await client.get(f"http://127.0.0.1:{port}/scaling?modality=video")
    vision, decoder = told["modalities"]
    assert (vision["modality"], vision["unit"], vision["replicas"], vision["ready"]) == ("vision", "tiles", 2, 1)
    assert vision["desired"] == 5
    assert vision["inputs"]["queued_cost"] == 400
    assert vision["inputs"]["rate"] == DEFAULTS["vision"].default_rate
    assert "400 tiles wait" in vision["reason"]
    assert (decoder["desired"], decoder["inputs"]) == (3, {})
    assert [change["modality"] for change in told["changes"]] == ["vision"]
    assert [told["modality"] for told in one["modalities"]] == ["decoder"]
    assert one["changes"] == []
    assert wrong.status_code == 400


async def test_the_command_shows_a_table(decisions: Decisions) -> None:
    async with explain.serve(explain.page(decisions), "127.0.0.1:0") as port:
        address = ("--address", f"127.0.0.1:{port}")
        code, shown = await asyncio.to_thread(command, *address)
        json_code, as_json = await asyncio.to_thread(command, *address, "--json", "--modality", "vision")
        wrong_code, wrong = await asyncio.to_thread(command, *address, "--modality", "video")
    assert code == json_code == 0
    words = re.sub(r"\s+", " ", shown)
    assert "1 + 1 starting" in words
    assert "400 tiles" in words
    assert "Held at 3: no gateway tells of it" in words
    assert "last changes" in words
    assert [told["modality"] for told in json.loads(as_json)["modalities"]] == ["vision"]
    assert wrong_code == 1
    assert "modality must be one of" in wrong


def test_the_command_says_that_nobody_answers() -> None:
    code, shown = command("--address", "127.0.0.1:1")
    assert code == 1
    assert shown == "No autoscaler answers at 127.0.0.1:1. Name its admin page with --address.\n"


async def test_an_address_that_is_taken_is_an_error(decisions: Decisions) -> None:
    async with explain.serve(explain.page(decisions), "127.0.0.1:0") as port:
        with pytest.raises(OSError, match="the address is taken"):
            async with explain.serve(explain.page(decisions), f"127.0.0.1:{port}"):
                pytest.fail("two listen on one address")


@pytest.fixture
def process(redis_server: RedisServer) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "TRICHORD_AUTOSCALER_STATE_URL": redis_server.url,
        "TRICHORD_AUTOSCALER_LISTEN": "127.0.0.1:0",
        "TRICHORD_AUTOSCALER_INTERVAL_S": "60",
    }
    command_line = [sys.executable, "-m", "autoscaler"]
    process = subprocess.Popen(command_line, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def ports(process: subprocess.Popen[str]) -> dict[str, int]:
    """Of both servers, from the log, once notices are heard too."""
    found: dict[str, int] = {}
    assert process.stderr
    is_listening = False
    while len(found) < 2 or not is_listening:
        line = process.stderr.readline()
        assert line, "it ended"
        entry = json.loads(line)
        is_listening |= entry["event"] == "listening for notices of sleepers"
        if entry["event"] == "listening":
            found[entry.get("protocol", "grpc")] = entry["port"]
    return found


async def test_a_held_request_becomes_an_active_modality_in_kedas_eyes(
    process: subprocess.Popen[str], redis_server: RedisServer
) -> None:
    """The whole process: a gateway's notice comes out of the stream that KEDA listens to, between two turns."""
    link = RedisLink(redis_server.url, timeout_s=5.0)
    await publish(link, "g", [Demand(modality="vision")])
    at = await asyncio.to_thread(ports, process)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{at['grpc']}") as channel:
        reference = pb.ScaledObjectRef(scalerMetadata={"modality": "vision"})
        stream = pb_grpc.ExternalScalerStub(channel).StreamIsActive(reference, wait_for_ready=True)
        assert (await stream.read()).result is False
        await wake(link, "vision")
        assert (await stream.read()).result is True
        stream.cancel()
    await link.close()
    code, shown = await asyncio.to_thread(command, "--address", f"127.0.0.1:{at['http']}")
    assert code == 0
    assert "Woken from 0 to 1" in shown
    process.terminate()
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert process.stdout
    assert process.stdout.read() == ""


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "TRICHORD_AUTOSCALER_STATE_URL is not set"),
        ({"STATE_URL": "http://x"}, "is not one of redis://"),
        ({"STATE_URL": "unix:///x", "MODE": "local"}, "Set TRICHORD_AUTOSCALER_CONTROL_SOCKET"),
        ({"STATE_URL": "unix:///x", "MODE": "kubernetes"}, "no pod with a service account, and no kubeconfig"),
        ({"STATE_URL": "unix:///x", "RULES": "/nowhere.yaml"}, "Scaling rules nowhere.yaml cannot be read"),
    ],
)
def test_a_process_that_cannot_start_says_why(variables: dict[str, str], told: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    environment |= {f"TRICHORD_AUTOSCALER_{name}": value for name, value in variables.items()}
    environment |= {"HOME": "/nowhere"}
    command_line = [sys.executable, "-m", "autoscaler"]
    done = subprocess.run(command_line, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
