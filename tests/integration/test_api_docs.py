"""docs/api.md: every example runs against a cluster of real processes, and its tables are what the code does."""

from __future__ import annotations

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
from tests.conftest import LocalCluster, free_ports
from trichord import errors
from trichord.client import OmniClient, SyncOmniClient
from trichord.v1 import gateway_pb2

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()
BIN = Path(sys.executable).parent
MODEL = "demo"
"""What the page calls the model: the local cluster's default."""
TIMEOUT_S = 180


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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.heading}, line {example.line}")
def test_an_example_runs(example: Example, tiny_cluster: LocalCluster, model: str, tmp_path: Path) -> None:
    done = run(example, tiny_cluster.port, model, tmp_path / "keys.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("language", "code"), [("python", "print(1); client"), ("sh", "false; echo 1")])
def test_an_example_may_fail(language: str, code: str, tmp_path: Path) -> None:
    assert run(Example("", 0, language, code), 1, MODEL, tmp_path / "keys.json").returncode != 0


@pytest.fixture(scope="module")
def guarded(tiny_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A second gateway of the cluster, which checks keys and whose Redis is away."""
    port, keys = free_ports(), tmp_path_factory.mktemp("keys") / "keys.json"
    (create,) = [example for example in EXAMPLES if (example.heading, example.language) == ("Keys", "sh")]
    api_key = run(create, port, MODEL, keys).stdout.split()[0]
    env = {
        "TRICHORD_GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "TRICHORD_HTTP_LISTEN": f"127.0.0.1:{port + HTTP_PORT_OFFSET}",
        "TRICHORD_GATEWAY_CACHE_URL": "redis://127.0.0.1:1/0",
        "TRICHORD_GATEWAY_STATE_URL": "redis://127.0.0.1:1/0",
        "TRICHORD_AUTH_MODE": "keys",
        "TRICHORD_AUTH_KEYS": str(keys),
        **{f"TRICHORD_GATEWAY_{m.setting}": f"127.0.0.1:{tiny_cluster.port + m.port_offset}" for m in MODALITIES},
    }
    with subprocess.Popen([sys.executable, "-m", "gateway"], env={**os.environ, **env}) as gateway:
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=TIMEOUT_S)
            yield Guarded(port, keys, api_key)
        finally:
            gateway.terminate()


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
    rows = re.findall(r"^\| `(\w+)` \| (?:unary|server stream) \| [^|]+ \| `(\w+)` \|", PAGE, re.M)
    service = gateway_pb2.DESCRIPTOR.services_by_name["OmniService"]
    scopes = {method.name: SCOPE_OF_METHOD[f"/{service.full_name}/{method.name}"] for method in service.methods}
    assert {name: Scope(scope) for name, scope in rows} == scopes


def test_every_method_of_the_clients_has_its_row() -> None:
    rows = re.findall(r"^\| `\w+` \| (?:unary|server stream) \| ([^|]+) \|", PAGE, re.M)
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    for kind in (OmniClient, SyncOmniClient):
        assert {name for name in vars(kind) if not name.startswith("_")} == {*told, "close"}


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
