"""``trichord jobs``: a file becomes a job once, is watched, and its results are lines."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import free_ports
from tests.unit.gateway.jobs.jobs_lab import LIMITS
from tests.unit.gateway.openai_http.jobs_lab import completed, ended
from tests.unit.trichord_cli.jobs_cli_lab import JobsCli, line, running_jobs, sentence
from trichord.v1 import jobs_pb2
from trichord_cli import jobs_view
from trichord_cli.main import app


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[JobsCli]:
    with running_jobs(tmp_path / "store") as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text(line("a", "ja") + line("b", "nein", max_tokens=7))
    return path


def test_a_file_is_one_job_however_often_it_is_submitted(cli: JobsCli, file: Path) -> None:
    first, second = cli.run("submit", str(file)), cli.run("submit", str(file), "--priority", "low")
    assert first.exit_code == second.exit_code == 0, first.output
    assert re.fullmatch(r"job_[0-9a-f]{32}\n", first.stdout)
    assert first.stdout == second.stdout
    [record] = cli.taken()
    assert record.job.spec.request_id.startswith("sha256:")
    items = cli.items(record)
    assert [(item.custom_id, item.request.messages[0].parts[0].text) for item in items] == [("a", "ja"), ("b", "nein")]
    assert items[1].request.sampling.max_tokens == 7
    file.write_text(line("a", "ja"))
    assert cli.run("submit", str(file)).stdout != first.stdout
    assert len(cli.taken()) == 2


def test_what_a_job_is_told(cli: JobsCli, file: Path) -> None:
    options = ["--request-id", "mine", "--priority", "high", "--deadline", "90m"]
    assert cli.run("submit", str(file), *options).exit_code == 0
    [record] = cli.taken()
    spec = record.job.spec
    assert (spec.request_id, spec.priority) == ("mine", jobs_pb2.JOB_PRIORITY_HIGH)
    assert 0 <= time.time() + 90 * 60 - spec.deadline.seconds < 60
    file.write_text(line("other"))
    again = cli.run("submit", str(file), *options)
    assert again.exit_code == 1
    assert "request id" in again.stderr


def test_wrong_lines_are_told_and_the_others_submitted(cli: JobsCli, file: Path) -> None:
    file.write_text(line("a") + "{\n" + line("a") + line("b", temperature=9) + line("c"))
    result = cli.run("submit", str(file))
    assert result.exit_code == 0
    *told, last = result.stderr.splitlines()
    assert [one.removeprefix(f"{file}:").partition(":")[0] for one in told] == ["2", "3", "4"]
    assert "4: body.temperature: Input" in result.stderr
    assert last.startswith("3 wrong lines are left out.")
    [record] = cli.taken()
    assert result.stdout == f"{record.job.id}\n"
    assert [item.custom_id for item in cli.items(record)] == ["a", "c"]
    cli.answer()
    assert cli.run("submit", str(file), "--watch").exit_code == 1, "not all that is in the file was answered"


def test_a_line_that_only_the_gateway_can_refuse_is_told_and_left_out_too(cli: JobsCli, file: Path) -> None:
    long = [{"role": "user", "content": "hi"}] * (LIMITS.max_messages + 1)
    file.write_text(line("a") + "\n" + line("b", messages=long) + line("c") + line("d", messages=long).strip())
    result = cli.run("submit", str(file))
    assert result.exit_code == 0, result.stderr
    assert [told.partition(": messages")[0] for told in result.stderr.splitlines()[:-1]] == [f"{file}:3", f"{file}:5"]
    [record] = cli.taken()
    assert [item.custom_id for item in cli.items(record)] == ["a", "c"]
    file.write_text(line("b", messages=long))
    nothing = cli.run("submit", str(file))
    assert (nothing.exit_code, nothing.stderr.splitlines()[-1]) == (1, "Nothing was submitted.")


def test_a_model_that_is_not_there_is_told_before_anything_is_submitted(cli: JobsCli, file: Path) -> None:
    file.write_text(line("a", model="other"))
    for options in ([], ["--dry-run"]):
        result = cli.run("submit", str(file), *options)
        assert result.exit_code == 1
        assert f"{file}:1: body.model: There is no model 'other' here; it is 'fake'." in result.stderr
    assert cli.taken() == []


def test_a_file_too_long_for_a_job_is_none(cli: JobsCli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRICHORD_JOBS_MAX_ITEMS", "1")
    result = cli.run("submit", str(file))
    assert result.exit_code == 1
    assert "at most 1 lines. Split it." in result.stderr
    assert cli.taken() == []


def test_a_dry_run_submits_nothing_and_needs_no_gateway(cli: JobsCli, file: Path) -> None:
    nobody = ["--target", f"127.0.0.1:{free_ports(1)}"]
    for good in (
        cli.run("submit", str(file), "--dry-run"),
        CliRunner().invoke(app, ["jobs", "submit", str(file), "--dry-run", *nobody]),
    ):
        assert (good.exit_code, good.stdout) == (0, "")
        assert "2 requests, 0 wrong lines" in good.stderr
    file.write_text(line("a") + "[]\n")
    bad = cli.run("submit", str(file), "--dry-run")
    assert bad.exit_code == 1
    assert "1 requests, 1 wrong lines" in bad.stderr
    assert cli.taken() == []


@pytest.mark.parametrize("deadline", ["soon", "0h", "24", "-1h", "1w", "24H"])
def test_a_deadline_that_is_none(cli: JobsCli, file: Path, deadline: str) -> None:
    result = cli.run("submit", str(file), f"--deadline={deadline}")
    assert result.exit_code == 2
    assert "such as 90m" in sentence(result)


def test_an_empty_file_is_no_job(cli: JobsCli, file: Path) -> None:
    file.write_text("\n")
    result = cli.run("submit", str(file))
    assert result.exit_code == 1
    assert "no lines" in result.stderr


def test_watching_follows_a_job_to_its_end(cli: JobsCli, file: Path) -> None:
    answering = threading.Thread(target=lambda: (until_taken(cli), cli.answer()))
    answering.start()
    result = cli.run("submit", str(file), "--watch")
    answering.join()
    assert result.exit_code == 0, result.output
    job_id = result.stdout.strip()
    assert f"{job_id}  completed   2 of 2 answered" in result.stderr
    again = cli.run("watch", job_id)
    assert again.exit_code == 0
    assert "2 of 2 answered" in again.stderr


def until_taken(cli: JobsCli) -> None:
    while not cli.taken():
        time.sleep(0.02)


def test_who_stops_watching_is_told_how_to_go_on(cli: JobsCli, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(changes: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs_view, "show", interrupted)
    result = cli.run("submit", str(file), "--watch")
    assert result.exit_code == 130
    command = f"trichord jobs watch {result.stdout.strip()} --target 127.0.0.1:{cli.port}"
    assert result.stderr == f"The job goes on. Look again: {command}\n"
    [record] = cli.taken()
    assert record.job.counts.total == 2


def test_watching_a_job_that_was_not_answered_fails(cli: JobsCli, file: Path) -> None:
    job_id = cli.run("submit", str(file)).stdout.strip()
    cli.answer(lambda item: (completed if item.custom_id == "a" else ended(jobs_pb2.ITEM_STATE_FAILED))(item))
    result = cli.run("watch", job_id)
    assert result.exit_code == 1
    assert "1 of 2 answered, 1 failed" in result.stderr


def test_results_are_lines_of_the_openai_batch_api(cli: JobsCli, file: Path) -> None:
    job_id = cli.run("submit", str(file)).stdout.strip()
    assert cli.run("results", job_id).stdout == ""
    cli.answer(lambda item: (completed if item.custom_id == "a" else ended(jobs_pb2.ITEM_STATE_EXPIRED))(item))
    answered, expired = map(json.loads, cli.run("results", job_id).stdout.splitlines())
    assert answered["custom_id"] == "a"
    assert answered["response"]["body"]["choices"][0]["message"]["content"] == "ja!"
    assert (expired["response"], expired["error"]["code"]) == (None, "batch_expired")


def test_jobs_are_told_and_cancelled(cli: JobsCli, file: Path) -> None:
    assert cli.run("list").stderr == "There are no jobs.\n"
    job_id = cli.run("submit", str(file)).stdout.strip()
    told = cli.run("get", job_id).stdout
    assert f"{job_id}  queued      0 of 2 answered" in told
    assert told.endswith(" UTC  in.jsonl\n")
    assert json.loads(cli.run("get", job_id, "--json").stdout)["counts"]["total"] == 2
    assert [json.loads(told)["id"] for told in cli.run("list", "--json").stdout.splitlines()] == [job_id]
    assert "cancelling" in cli.run("cancel", job_id).stdout
    assert cli.run("list", "--limit", "1").stdout.startswith(job_id)


def test_a_job_that_is_not_there(cli: JobsCli) -> None:
    for command in ("get", "cancel", "watch", "results"):
        result = cli.run(command, "job_" + "0" * 32)
        assert result.exit_code == 1
        assert "no such job" in result.stderr
