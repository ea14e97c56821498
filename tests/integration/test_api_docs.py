"""docs/api.md: every example runs against a cluster of real processes, and its tables are what the code does."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import openai
import pytest

from gateway.identity.principal import Scope
from gateway.identity.scopes import SCOPE_OF_METHOD
from gateway.openai_http import refusals, routes
from local_cluster.topology import DEFAULT_PORT, HTTP_PORT_OFFSET, MODALITIES
from tests.broker_lab import running_broker
from tests.conftest import LocalCluster, free_ports
from trichord import errors
from trichord.client import OmniClient, SyncOmniClient
from trichord.client.aio_jobs import Jobs
from trichord.client.sync_jobs import SyncJobs
from trichord.v1 import gateway_pb2, jobs_pb2

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()
BIN = Path(sys.executable).parent
MODEL = "demo"
"""What the page calls the model: the local cluster's default."""
TIMEOUT_S = 180
OF_JOBS = ("Jobs", "Batches")
"""Headings whose examples need a gateway that takes jobs."""


KINDS = r"(?:unary|server stream|client stream)"


class Example(NamedTuple):
    """One block of the page."""

    heading: str
    line: int
    language: str
    code: str


def examples() -> list[Example]:
    found, heading = [], ""
    blocks = re.finditer(r"^## (?P<heading>[^\n]*)$|^```(?P<language>\w*)\n(?P<code>.*?)^```$", PAGE, re.M | re.S)
    for block in blocks:
        heading = block["heading"] or heading
        if block["language"] is not None:
            line = PAGE.count("\n", 0, block.start()) + 1
            found.append(Example(heading, line, block["language"], block["code"]))
    return found


class Guarded(NamedTuple):
    """A gateway that checks keys."""

    port: int
    keys: Path
    api_key: str
    """Of the page's own example."""


EXAMPLES = examples()
RUNNERS = {"python": [str(BIN / "python"), "-W", "error", "-c"], "sh": ["bash", "-euo", "pipefail", "-c"]}


def run(
    example: Example, port: int, model: str, keys: Path, api_key: str = "not-checked"
) -> subprocess.CompletedProcess[str]:
    """Runs an example with the ports and the model of a cluster in place of those on the page."""
    language, told = example.language, example.code.replace(f'"{MODEL}"', f'"{model}"')
    for offset in (0, HTTP_PORT_OFFSET):
        told = told.replace(f"127.0.0.1:{DEFAULT_PORT + offset}", f"127.0.0.1:{port + offset}")
    ours = {"TRICHORD_API_KEY": api_key, "TRICHORD_AUTH_KEYS": str(keys)}
    env = {**os.environ, **ours, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [*RUNNERS[language], told], cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def model(tiny_cluster: LocalCluster) -> str:
    with SyncOmniClient(tiny_cluster.gateway) as client:
        return client.model().model


def example_of(*headings: str, but: bool = False) -> pytest.MarkDecorator:
    """Those under the headings, or all but those."""
    chosen = [example for example in EXAMPLES if (example.heading in headings) != but]
    return pytest.mark.parametrize("example", chosen, ids=lambda example: f"{example.heading}, line {example.line}")


@example_of(*OF_JOBS, but=True)
def test_an_example_runs(example: Example, tiny_cluster: LocalCluster, model: str, tmp_path: Path) -> None:
    done = run(example, tiny_cluster.port, model, tmp_path / "keys.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("language", "code"), [("python", "print(1); client"), ("sh", "false; echo 1")])
def test_an_example_may_fail(language: str, code: str, tmp_path: Path) -> None:
    assert run(Example("", 0, language, code), 1, MODEL, tmp_path / "keys.json").returncode != 0


@contextlib.contextmanager
def further_gateway(cluster: LocalCluster, **settings: str) -> Iterator[int]:
    """The port of one more gateway of the cluster, whose Redis is away."""
    port = free_ports()
    env = {
        "TRICHORD_GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "TRICHORD_HTTP_LISTEN": f"127.0.0.1:{port + HTTP_PORT_OFFSET}",
        "TRICHORD_GATEWAY_CACHE_URL": "redis://127.0.0.1:1/0",
        "TRICHORD_GATEWAY_STATE_URL": "redis://127.0.0.1:1/0",
        **{f"TRICHORD_GATEWAY_{m.setting}": f"127.0.0.1:{cluster.port + m.port_offset}" for m in MODALITIES},
        **settings,
    }
    with process("gateway", env), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT_S)
        yield port


@contextlib.contextmanager
def process(package: str, env: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-m", package], env={**os.environ, **env}) as running:
        try:
            yield
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def jobs_port(tiny_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a gateway that takes jobs, and has a worker behind it."""
    folder = tmp_path_factory.mktemp("jobs")
    with running_broker() as broker:
        settings = {
            "TRICHORD_JOBS_KAFKA": broker.address,
            "TRICHORD_JOBS_STORE": str(folder / "objects"),
            "TRICHORD_JOBS_SESSION_TIMEOUT_S": "2",
            "TRICHORD_USAGE_SPOOL": str(folder / "usage"),
        }
        with further_gateway(tiny_cluster, **settings) as port:
            worker = {"TRICHORD_WORKER_GATEWAY": f"127.0.0.1:{port}", "TRICHORD_WORKER_INSTANCE": ""}
            with process("job_worker", settings | worker):
                yield port


@example_of(*OF_JOBS)
def test_an_example_of_jobs_runs(example: Example, jobs_port: int, model: str, tmp_path: Path) -> None:
    done = run(example, jobs_port, model, tmp_path / "keys.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.fixture(scope="module")
def guarded(tiny_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A gateway that checks keys."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    (create,) = [example for example in EXAMPLES if (example.heading, example.language) == ("Keys", "sh")]
    api_key = run(create, 0, MODEL, keys).stdout.split()[0]
    settings = {"TRICHORD_AUTH_MODE": "keys", "TRICHORD_AUTH_KEYS": str(keys)}
    with further_gateway(tiny_cluster, **settings) as port:
        yield Guarded(port, keys, api_key)


def test_the_example_with_a_key_runs_where_keys_are_checked(guarded: Guarded, model: str) -> None:
    (example,) = [example for example in EXAMPLES if "TRICHORD_API_KEY" in example.code]
    done = run(example, guarded.port, model, guarded.keys, guarded.api_key)
    assert done.returncode == 0, done.stderr
    refused = run(example, guarded.port, model, guarded.keys, "none")
    assert refused.stderr.splitlines()[-1].startswith("trichord.errors.UnauthenticatedError: ")


def test_openais_client_shows_the_same_key(guarded: Guarded, model: str) -> None:
    base_url = f"http://127.0.0.1:{guarded.port + HTTP_PORT_OFFSET}/v1"
    with openai.OpenAI(base_url=base_url, api_key=guarded.api_key) as client:
        assert [served.id for served in client.models.list()] == [model]
    with openai.OpenAI(base_url=base_url, api_key="none") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_every_block_is_an_example() -> None:
    assert len(EXAMPLES) == PAGE.count("\n```") / 2
    assert {example.language for example in EXAMPLES} == set(RUNNERS)


def test_every_address_is_of_the_local_cluster() -> None:
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", PAGE)}
    assert ports == {DEFAULT_PORT, DEFAULT_PORT + HTTP_PORT_OFFSET}


def test_every_method_has_its_row_with_its_scope() -> None:
    rows = re.findall(rf"^\| ((?:`\w+`,? )+)\| {KINDS} \| [^|]+ \| `(\w+)` \|", PAGE, re.M)
    told = {name: Scope(scope) for names, scope in rows for name in re.findall(r"\w+", names)}
    services = [
        gateway_pb2.DESCRIPTOR.services_by_name["OmniService"],
        jobs_pb2.DESCRIPTOR.services_by_name["JobService"],
    ]
    assert told == {
        method.name: SCOPE_OF_METHOD[f"/{service.full_name}/{method.name}"]
        for service in services
        for method in service.methods
    }


def test_every_method_of_the_clients_has_its_row() -> None:
    rows = re.findall(rf"^\| (?:`\w+`,? )+\| {KINDS} \| ([^|]+) \|", PAGE, re.M)
    told = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    of_jobs = {name.removeprefix("jobs.") for name in told if name.startswith("jobs.")}
    for kind, jobs in ((OmniClient, Jobs), (SyncOmniClient, SyncJobs)):
        assert public(kind) == {name for name in told if "." not in name} | {"close"}
        assert public(jobs) == of_jobs


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_every_http_status_is_the_codes() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| `(\w+)` \| `(\w+)` \|$", PAGE, re.M)
    sent = [
        getattr(errors, name) for name in errors.__all__ if not issubclass(getattr(errors, name), errors.StartupError)
    ]
    kinds = {cls.reason: refusals.kind(cls("")) for cls in sent}
    assert {reason: refusals.Kind(int(status), kind, code) for reason, status, kind, code in rows} == kinds


def test_every_code_of_http_is_told() -> None:
    folder = Path(routes.__file__).parent
    codes = {code for file in folder.glob("*.py") for code in re.findall(r'code="(\w+)"', file.read_text())}
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
