"""The cluster's own Valkeys: what each may forget, who gets in, what the gateway is told."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local_cluster import stores, topology
from local_cluster.readiness import is_ready
from local_cluster.stores import SECRET_SETTING, STORES, Stores
from local_cluster.supervisor import Supervisor
from local_cluster.topology import Places
from tests.conftest import free_ports
from trichord.triton.runtime import Triton

TRITON = Triton(Path("/t/bin/tritonserver"), Path("/t/backends"))


@pytest.fixture
def own(tmp_path: Path) -> Stores:
    return Stores.of({}, tmp_path / "stores", "s3cret", "s" * 32)


@pytest.fixture
async def clients(own: Stores, logs: Path) -> AsyncIterator[dict[str, redis.Redis]]:
    """Clients of running stores, by name, as the gateway would connect."""
    port = free_ports(1) - STORES[0].port_offset
    own.write(port)
    places = Places(Path("/c/tiny"), TRITON, Path("/r"), "prefix-", own)
    wanted = [p for p in topology.processes(port, "float32", places, cores=1) if p.readiness == "redis"]
    supervisor = Supervisor(wanted, logs, lambda: None)
    await supervisor.start()
    urls = own.gateway_settings(port)
    clients = {store.name: redis.Redis.from_url(urls[store.setting], socket_timeout=30) for store in STORES}
    yield clients
    for client in clients.values():
        client.close()
    await supervisor.stop()
    assert {state.phase for state in supervisor.states.values()} == {"stopped"}


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(redis.ResponseError) as error:
        call()
    return str(error.value)


async def test_each_forgets_only_what_it_may(clients: dict[str, redis.Redis]) -> None:
    policies = {name: client.info("memory")["maxmemory_policy"] for name, client in clients.items()}
    assert policies == {"cache-store": "allkeys-lru", "state-store": "noeviction"}
    limits = {name: client.info("memory")["maxmemory"] for name, client in clients.items()}
    assert limits == {store.name: store.max_memory_bytes for store in STORES}
    assert all(client.info("persistence")["aof_enabled"] == 0 for client in clients.values())


async def test_nobody_gets_in_without_the_password_or_becomes_master(clients: dict[str, redis.Redis]) -> None:
    for client in clients.values():
        arguments = client.connection_pool.connection_kwargs
        assert await is_ready("redis", arguments["port"])
        stranger = redis.Redis(host="127.0.0.1", port=arguments["port"], socket_timeout=30, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("x")
        assert client.set("trichord:x", 1)
        assert client.eval("return redis.call('GET', KEYS[1])", 1, "trichord:x") == b"1"
        for call in (client.flushall, client.config_get, client.keys, client.shutdown, client.acl_list):
            assert "permission" in refused(call)


async def test_what_does_not_answer_is_not_ready() -> None:
    assert not await is_ready("redis", free_ports(1))


def test_the_password_is_in_no_command_and_its_files_are_private(own: Stores) -> None:
    own.write(7400)
    files = list(own.configurations.iterdir())
    assert {file.stem for file in files} == {store.name for store in STORES}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not any("s3cret" in file.read_text() for file in files)
    assert not any("s3cret" in argument for store in STORES for argument in own.argv(store))
    settings = own.gateway_settings(7400)
    assert settings.pop(SECRET_SETTING) == "s" * 32
    assert all("s3cret" in url for url in settings.values())


def test_a_secret_that_a_person_named_stays(tmp_path: Path) -> None:
    named = Stores.of({SECRET_SETTING: "mine"}, tmp_path, "s3cret", "s" * 32)
    assert SECRET_SETTING not in named.gateway_settings(7400)


def test_a_store_that_a_person_named_is_not_started(tmp_path: Path) -> None:
    named = Stores.of({"TRICHORD_GATEWAY_CACHE_URL": "redis://mine"}, tmp_path, "s3cret", "s" * 32)
    assert [store.name for store in named.started] == ["state-store"]
    assert list(named.gateway_settings(7400)) == ["TRICHORD_GATEWAY_STATE_URL", SECRET_SETTING]
    assert stores.STORES[1] is named.started[0]
