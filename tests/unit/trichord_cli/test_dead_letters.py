"""``trichord jobs dlq`` with a real broker: dead letters are listed, shown, and become a job again."""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from local_cluster.process_id import ProcessId
from local_cluster.state import ClusterState, RunDirectory
from local_cluster.topology import ClusterSpec
from tests.broker_lab import running_broker
from tests.unit.gateway.jobs.jobs_lab import job_item
from tests.unit.trichord_cli.jobs_cli_lab import JobsCli, line, running_jobs, sentence
from trichord.jobs.message import Encoded, History, Message, Origin
from trichord.jobs.producer import QueueProducer
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics, ensure_topics
from trichord.v1 import gateway_pb2, jobs_pb2
from trichord_cli import dead_letters
from trichord_cli.main import app

JOB = "job_" + "1" * 32
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FAILED_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with running_broker() as broker:
        yield broker.address


@pytest.fixture
def settings(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> JobsSettings:
    """Topics of each test's own."""
    told = {
        "kafka": kafka,
        "store": str(tmp_path / "store"),
        "topic_prefix": f"{zlib.crc32(request.node.name.encode())}.",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"TRICHORD_JOBS_{name.upper()}", value)
    made = JobsSettings.from_environment()
    ensure_topics(made)
    return made


@pytest.fixture
def cli(settings: JobsSettings, tmp_path: Path) -> Iterator[JobsCli]:
    with running_jobs(tmp_path / "store") as running:
        yield running


def letter(index: int, **changes: Any) -> Message:
    item = job_item(f"item-{index}", gateway_pb2.Part(text=f"hi {index}"))
    queued = jobs_pb2.QueuedItem(tenant="anonymous", job_id=JOB, index=index, item=item)
    history = History(4, FAILED_AT, "UNAVAILABLE", "The decoder is away.", origin=Origin("requests", 3, 17))
    for name, value in changes.items():
        setattr(queued, name, value)
    return Message(queued, history, TRACE)


@pytest.fixture
def put(settings: JobsSettings) -> Iterator[Any]:
    """Puts letters into the queue."""
    producer = QueueProducer(settings)

    def put(*letters: Message | Encoded) -> None:
        for one in letters:
            producer.submit(Topics(settings).dead_letters, JOB, one).result(60)

    yield put
    asyncio.run(producer.close())


def listed(*options: str) -> list[dict[str, Any]]:
    result = dlq("list", "--json", *options)
    return [json.loads(told) for told in result.splitlines()]


def dlq(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["jobs", "dlq", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_letters_are_listed_and_shown(cli: JobsCli, put: Any) -> None:
    assert listed() == []
    put(letter(7), letter(8), Encoded(b"what is this", ()))
    first, second, odd = listed()
    assert (first["job_id"], first["index"], first["attempts"]) == (JOB, 7, 4)
    assert (first["code"], first["message"]) == ("UNAVAILABLE", "The decoder is away.")
    assert (second["index"], odd["code"], odd["job_id"]) == (8, "UNREADABLE", None)
    assert [one["index"] for one in listed("--job", JOB)] == [7, 8]
    assert [one["code"] for one in listed("--limit", "1")] == ["UNREADABLE"]
    assert f"{JOB} #7  4 attempts  UNAVAILABLE: The decoder is away." in dlq("list")
    whole = json.loads(dlq("show", first["id"]))
    assert whole["item"]["item"]["custom_id"] == "item-7"
    assert whole["origin"] == {"topic": "requests", "partition": 3, "offset": 17}
    assert (whole["traceparent"], whole["first_failure_time"]) == (TRACE, FAILED_AT.isoformat())


def test_letters_become_one_job_again(cli: JobsCli, put: Any, tmp_path: Path) -> None:
    put(letter(0), letter(1), letter(2, job_id="job_" + "2" * 32), Encoded(b"odd", ()))
    ids = [one["id"] for one in listed()]
    first, again = cli.run("dlq", "replay", ids[0], ids[1]), cli.run("dlq", "replay", "--job", JOB)
    assert first.exit_code == again.exit_code == 0, first.output + again.output
    assert first.stdout == again.stdout
    [record] = cli.taken()
    assert f"{record.job.id}\n" == first.stdout
    items = cli.items(record)
    assert [item.custom_id for item in items] == ["item-0", "item-1"]
    assert items[1].request.messages[0].parts[0].text == "hi 1"
    whole = cli.run("dlq", "replay", "--all")
    assert whole.exit_code == 0, whole.output
    assert len(cli.items(next(one for one in cli.taken() if one.job.id == whole.stdout.strip()))) == 3


def test_two_items_of_one_name_get_names_of_their_own(cli: JobsCli, put: Any) -> None:
    put(letter(0), letter(0, job_id="job_" + "2" * 32))
    assert cli.run("dlq", "replay", "--all").exit_code == 0
    [record] = cli.taken()
    assert len({item.custom_id for item in cli.items(record)}) == 2


def test_an_item_that_is_not_in_its_letter_is_read_from_the_store(cli: JobsCli, put: Any, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(line("large", "x" * 5000))
    job_id = cli.run("submit", str(file)).stdout.strip()
    queued = jobs_pb2.QueuedItem(tenant="anonymous", job_id=job_id, index=0)
    lost = jobs_pb2.QueuedItem(tenant="anonymous", job_id="job_" + "3" * 32, index=0)
    put(Message(queued), Message(lost))
    replayed = cli.run("dlq", "replay", "--job", job_id)
    assert replayed.exit_code == 0, replayed.output
    record = next(one for one in cli.taken() if one.job.id == replayed.stdout.strip())
    assert cli.items(record)[0].request.messages[0].parts[0].text == "x" * 5000
    gone = cli.run("dlq", "replay", "--job", lost.job_id)
    assert gone.exit_code == 1
    assert "kept no longer" in gone.stderr


def test_what_cannot_be_replayed_is_said(cli: JobsCli, put: Any) -> None:
    put(letter(0), letter(1, tenant="rival"), Encoded(b"odd", ()))
    odd = listed()[2]["id"]
    for arguments, words in (
        ([], "--all"),
        (["--all"], "several tenants"),
        (["9-99"], "no dead letter"),
        ([odd], "cannot be read"),
        (["--job", "job_none"], "nothing to replay"),
    ):
        result = cli.run("dlq", "replay", *arguments)
        assert result.exit_code == 2
        assert words in sentence(result)
    assert cli.taken() == []


def test_a_local_clusters_letters_need_no_settings(
    settings: JobsSettings, put: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(letter(7))
    for name in ("KAFKA", "STORE"):
        monkeypatch.delenv(f"TRICHORD_JOBS_{name}")
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    directory, myself = RunDirectory(tmp_path, "mine"), ProcessId.of(os.getpid())
    assert myself
    spec = ClusterSpec(name="mine", checkpoint=Path("/c"), port=int(settings.kafka.rpartition(":")[2]) - 10, jobs=True)
    directory.clear()
    directory.write(ClusterState(spec=spec, supervisor=myself, phase="ready", message="", processes=[]))
    assert [one["index"] for one in listed()] == [one["index"] for one in listed("--name", "mine")] == [7]
    assert dead_letters.settings_of("mine").store == str(directory.jobs / "objects")


def test_without_a_queue_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRICHORD_JOBS_KAFKA", raising=False)
    monkeypatch.setenv("TRICHORD_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["jobs", "dlq", "list"])
    assert result.exit_code == 1
    assert "TRICHORD_JOBS_KAFKA" in result.stderr
