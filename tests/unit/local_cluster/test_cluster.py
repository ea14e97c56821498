"""The whole cluster as a person runs it: the command, real services, real Tritons, the tiny checkpoint."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file, save_file

from local_cluster.topology import shm_prefix
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.home import home
from trichord.triton import runtime

MEDIA = Path(__file__).parents[3] / "examples" / "media"
TIMEOUT_S = 200.0
Trichord = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cluster_home(tmp_path: Path) -> Path:
    """A home with the tiny checkpoint, and with the Triton and the native step that are there already."""
    runtime.install(home())
    (home() / "native").mkdir(mode=0o700, exist_ok=True)
    for name in ("triton", "native"):
        (tmp_path / name).symlink_to(home() / name)
    init(PRESETS["tiny"], tmp_path / "checkpoints" / "tiny", seed=1)
    return tmp_path


@pytest.fixture
def trichord(cluster_home: Path) -> Iterator[Trichord]:
    """Runs the command in that home; at the end the cluster is down, whatever the test did."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from trichord_cli.main import app; app()", *arguments],
            env={**os.environ, "TRICHORD_HOME": str(cluster_home)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    yield run
    assert run("down").returncode == 0
    assert not leftovers(cluster_home)


def leftovers(cluster_home: Path) -> list[str]:
    """Processes and shared memory that belong to the home's cluster."""
    regions = [path.name for path in Path("/dev/shm").glob(f"{shm_prefix(cluster_home / 'run' / 'default')}*")]
    processes = [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if str(cluster_home) in " ".join(process.info["cmdline"] or [])
    ]
    return regions + processes


def free_base_port() -> int:
    """The first of 24 free ports, below those that the kernel gives to clients."""
    for base in random.SystemRandom().sample(range(20_000, 32_000, 24), 100):
        try:
            for port in range(base, base + 24):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    pytest.fail("no 24 free ports in a row")


def status(trichord: Trichord) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(trichord("status", "--json").stdout)
    return facts


def test_up_chat_and_down(trichord: Trichord, cluster_home: Path) -> None:
    port = str(free_base_port())
    up = trichord("up", "--preset", "tiny", "--dtype", "float32", "--port", port)
    assert up.returncode == 0, up.stderr
    assert f"Ready on 127.0.0.1:{port}" in up.stdout

    facts = status(trichord)
    assert facts["phase"] == "ready"
    assert [process["phase"] for process in facts["processes"]] == ["ready"] * 10
    assert trichord("status").returncode == 0

    chat = ("chat", "hello", "--max-tokens", "5", "--target", f"127.0.0.1:{port}")
    media = ("--image", str(MEDIA / "sign.png"), "--audio", str(MEDIA / "sentence.flac"))
    answer = trichord(*chat, *media, "--receipt")
    assert answer.returncode == 0, answer.stderr
    assert "answer 5 tokens, 1 images" in answer.stderr
    assert "prefill" in answer.stderr
    events = [json.loads(line) for line in trichord(*chat, "--system", "Be brief.", "--json").stdout.splitlines()]
    assert list(events[0]) == ["started"]
    assert events[-1]["finished"]["usage"]["completion_tokens"] == 5
    refused = trichord(*chat, "--image", str(MEDIA / "sentence.flac"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "not a whole PNG" in refused.stderr
    missing = trichord(*chat, "--image", "/no/such/file")
    assert (missing.returncode, missing.stderr) == (1, "No such file or directory: /no/such/file\n")

    again = trichord("up", "--preset", "tiny", "--dtype", "float32", "--port", port)
    assert (again.returncode, again.stdout) == (0, f"Cluster default is already ready on 127.0.0.1:{port}.\n")
    other = trichord("up", "--preset", "tiny", "--dtype", "bfloat16", "--port", port)
    assert other.returncode == 1
    assert other.stderr == "Cluster default is already running, differently. Stop it with: trichord down\n"

    assert "Started GRPCInferenceService" in trichord("logs", "llm-decoder-triton", "-n", "5").stdout
    unknown = trichord("logs", "nobody")
    assert (unknown.returncode, unknown.stderr.split(".")[0]) == (1, "There is no log of nobody")

    down = trichord("down")
    assert down.stdout == "Cluster default is stopped.\n"
    assert trichord("down").stdout == "Cluster default does not run.\n"
    assert not leftovers(cluster_home)


def test_the_next_up_cleans_up_after_a_killed_supervisor(trichord: Trichord, cluster_home: Path) -> None:
    up = ("up", "--preset", "tiny", "--port", str(free_base_port()))
    assert trichord(*up).returncode == 0
    before = status(trichord)
    os.kill(before["supervisor_pid"], signal.SIGKILL)
    assert status(trichord)["phase"] == "killed"
    assert trichord("status").returncode == 1
    assert leftovers(cluster_home)

    again = trichord(*up)
    assert again.returncode == 0, again.stderr
    old, new = ({process["pid"] for process in facts["processes"]} for facts in (before, status(trichord)))
    assert len(new) == 10
    assert not [pid for pid in old if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


def test_a_broken_checkpoint_is_one_sentence_with_the_tensors_name(trichord: Trichord, cluster_home: Path) -> None:
    weights = cluster_home / "checkpoints" / "tiny" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["llm.model.norm.weight"]
    save_file(tensors, weights)
    up = trichord("up", "--preset", "tiny", "--port", str(free_base_port()))
    assert up.returncode == 1
    sentence = up.stderr.splitlines()[-1]
    assert sentence.startswith("llm-decoder's Triton did not start: ")
    assert "llm.model.norm.weight" in sentence
    assert "Traceback" not in up.stdout + up.stderr

    facts = status(trichord)
    assert (facts["phase"], facts["message"]) == ("failed", sentence)
    assert not leftovers(cluster_home)


def test_a_checkpoint_that_is_not_there_is_one_sentence(trichord: Trichord) -> None:
    up = trichord("up", "--preset", "nowhere")
    assert up.returncode == 1
    assert "There is no config.json in nowhere. Pull or init it first." in up.stderr
    assert "Traceback" not in up.stderr


def test_a_taken_port_is_one_sentence(trichord: Trichord) -> None:
    base = free_base_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 12))
        taken.listen()
        up = trichord("up", "--preset", "tiny", "--port", str(base))
    assert up.returncode == 1
    told = f"Port {base + 12}, which audio-encoder's Triton needs, is taken. Choose others with --port."
    assert up.stderr.splitlines()[-1] == told


def test_there_is_nothing_to_say_of_a_cluster_that_never_was(trichord: Trichord, cluster_home: Path) -> None:
    assert trichord("down").stdout == "Cluster default does not run.\n"
    assert status(trichord) == {"phase": "down", "processes": []}
    assert trichord("logs").stderr == "Cluster default has no logs: it was never started.\n"
    assert not (cluster_home / "run").exists()


@pytest.mark.parametrize("arguments", [("--name", "../x"), ("--dtype", "float16"), ("--port", "80")])
def test_a_senseless_option_is_named(trichord: Trichord, arguments: tuple[str, str]) -> None:
    up = trichord("up", *arguments)
    assert up.returncode == 2
    assert arguments[0] in up.stderr


@pytest.fixture
def start(cluster_home: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the command in that home and does not wait for it."""

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", "from trichord_cli.main import app; app()", *arguments],
            env={**os.environ, "TRICHORD_HOME": str(cluster_home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A shell starts what it puts in the background deaf to interrupts, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    return run


def wait_for(phase: str, process: str, trichord: Trichord, popen: subprocess.Popen[bytes]) -> None:
    """Waits until one process of the cluster that ``popen`` starts is in a phase."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while phase not in [p["phase"] for p in status(trichord)["processes"] if p["name"] == process]:
        assert popen.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_an_interrupted_up_leaves_nothing(trichord: Trichord, start: Callable[..., Any], cluster_home: Path) -> None:
    popen = start("up", "--preset", "tiny", "--port", str(free_base_port()))
    wait_for("starting", "llm-decoder-triton", trichord, popen)
    popen.send_signal(signal.SIGINT)
    assert popen.wait(timeout=30) == 130
    assert status(trichord)["phase"] == "down"
    assert not leftovers(cluster_home)


def test_the_foreground_stops_at_an_interrupt(
    trichord: Trichord, start: Callable[..., Any], cluster_home: Path
) -> None:
    popen = start("up", "--foreground", "--preset", "tiny", "--port", str(free_base_port()))
    wait_for("ready", "gateway", trichord, popen)
    popen.send_signal(signal.SIGINT)
    assert popen.wait(timeout=30) == 0
    assert status(trichord)["phase"] == "down"
    assert not leftovers(cluster_home)
